import functools

import pytest
import torch

from mentorch import Edge, Graph, UsageError, freeze
from mentorch.data import Batches, dense
from mentorch.losses import depth_l1, normal_cosine
from mentorch.methods._branch._held_out import held_out
from mentorch.methods._branch._paths import Paths
from mentorch.networks import segnet

IMAGES = torch.rand(7, 3, 10, 14, generator=torch.Generator().manual_seed(0))
small = functools.partial(segnet, widths=(4, 6, 8), depths=(1, 1, 1))


def drawn() -> tuple[Graph, dict[str, torch.nn.Module]]:
    torch.manual_seed(0)
    teachers = {"depth": freeze(small(1)), "normals": freeze(small(3))}
    edges = [Edge("depth", "student:depth", depth_l1, 2.0), Edge("normals", "student:normals", normal_cosine)]
    return Graph({**teachers, "student": Paths(small(1), teachers)}, edges), teachers


def test_it_is_the_mean_loss_over_samples_for_each_teacher_and_depth_however_they_are_batched():
    graph, teachers = drawn()
    found = held_out(graph, [IMAGES[:3], IMAGES[3:]], [0, 2, 3])
    paths = graph.nodes["student"].eval()
    for depth in (0, 2, 3):
        output = paths.choose({"depth": depth, "normals": depth})(IMAGES)
        wanted = 2 * depth_l1(output["depth"], teachers["depth"](IMAGES)).mean().item()
        assert found["depth"][depth] == pytest.approx(wanted, rel=1e-5)
        wanted = normal_cosine(output["normals"], teachers["normals"](IMAGES)).mean().item()
        assert found["normals"][depth] == pytest.approx(wanted, rel=1e-5)
    other = held_out(graph, [IMAGES[:1], IMAGES[1:2], IMAGES[2:]], [0, 2, 3])
    assert all(other[name][d] == pytest.approx(found[name][d], rel=1e-5) for name in found for d in found[name])


def test_it_leaves_the_network_as_it_was():
    graph, _ = drawn()
    paths = graph.nodes["student"].choose({"depth": 1, "normals": 2})
    graph.train()
    before = {name: x.clone() for name, x in graph.state_dict().items()}
    held_out(graph, [IMAGES], [0, 3])
    assert paths.chosen == {"depth": 1, "normals": 2}
    assert paths.training
    assert all(torch.equal(x, before[name]) for name, x in graph.state_dict().items())


def test_every_sample_counts():
    graph, _ = drawn()
    split = dense.scenes((10, 14), train=7, validation=1, test=1).train
    with pytest.raises(UsageError, match="drop_last=False"):
        held_out(graph, Batches(split, 2, drop_last=True), [0])
