import pytest
import torch
from torch import nn

from mentorch._errors import UsageError
from mentorch.networks import build
from mentorch.structure._trace import Trace, skeleton, with_tensors


def test_a_skeleton_has_shapes_but_no_memory_and_its_indices_are_real():
    network = build("resnet8", num_classes=3)
    network.register_buffer("order", torch.tensor([2, 0, 1]))
    bones = skeleton(network)
    assert all(x.is_meta for x in bones.state_dict().values() if x.is_floating_point())
    assert bones.order.tolist() == [2, 0, 1]
    assert {k: v.shape for k, v in bones.state_dict().items()} == {k: v.shape for k, v in network.state_dict().items()}


def test_shared_tensors_stay_shared():
    network = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    network[1].weight = network[0].weight
    copied = with_tensors(network, lambda name, x: x.detach().clone())
    assert copied[0].weight is copied[1].weight
    assert copied[0].weight is not network[0].weight


def test_what_cannot_be_copied_is_named():
    network = nn.Linear(3, 3)
    network.last = network.weight * 2
    with pytest.raises(UsageError, match="Linear cannot be copied: Only Tensors created explicitly"):
        skeleton(network)


def test_layers_that_wait_for_their_first_call_are_named():
    with pytest.raises(UsageError, match=r"'0\.weight' has no shape yet: call the network once"):
        skeleton(nn.Sequential(nn.LazyLinear(3)))


def test_smaller_networks_are_traced_before_they_exist():
    bones = skeleton(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 5, 3)))
    trace = Trace(bones, {("0.weight", 0): 2})
    trace.run(torch.zeros(1, 3, 8, 8))
    assert {place: len(seen.numbers) for place, seen in trace.places.items() if place[0] in ("0.bias", "2.weight")} == {
        ("0.bias", 0): 2,
        ("2.weight", 1): 2,
        ("2.weight", 0): 5,
    }
    assert trace.layers == {"0.weight": 36, "2.weight": 16}


def test_index_buffers_pick_their_channels():
    class Picks(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 4), nn.Linear(2, 2)
            self.register_buffer("index", torch.tensor([3, 1]))

        def forward(self, x):
            return self.b(self.a(x)[:, self.index])

    trace = Trace(skeleton(Picks()))
    trace.run(torch.zeros(1, 3))
    made = trace.places["a.weight", 0].numbers
    assert trace.places["b.weight", 1].numbers.tolist() == made[[3, 1]].tolist()
