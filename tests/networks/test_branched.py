import copy

import pytest
import torch
from torch import nn

from mentorch import UsageError
from mentorch.networks import branched, cost, deeplab, resnet8, segnet_tiny, unet_tiny
from mentorch.networks._branched import ChannelCoding, tail

KINDS = {
    "segnet": segnet_tiny,
    "unet": unet_tiny,
    "deeplab": lambda outputs: deeplab(resnet8(10), outputs, rates=(1, 2), width=16),
}
IMAGES = torch.rand(2, 3, 19, 30, generator=torch.Generator().manual_seed(0))  # neither square nor even


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def test_channel_coding_is_its_formula_on_maps_of_any_shape():
    coding = ChannelCoding(24)
    x = torch.randn(3, 24, 5, 9)
    w1, w2 = coding.squeeze.weight, coding.excite.weight
    assert (w1.shape, w2.shape) == ((16, 24), (24, 16))  # max(16, 24 / 4), and no bias
    assert sum(p.numel() for p in coding.parameters()) == 2 * 16 * 24
    weight = 1 / (1 + (-(w2 @ (w1 @ x.mean((2, 3)).T).clamp(min=0))).exp())
    torch.testing.assert_close(coding(x), x * weight.T[:, :, None, None])
    assert ChannelCoding(128).squeeze.weight.shape == (32, 128)


@pytest.mark.parametrize("kind", KINDS)
def test_a_branch_is_the_trunk_then_the_adaptor_then_the_other_network(kind):
    make = KINDS[kind]
    trunk, one, other = make(1).eval(), make(7).eval(), make(3).eval()
    last = len(trunk.decoder) - 1
    network = branched(trunk, {"one": (one, last), "other": (other, 1)}).eval()
    assert network.tasks == ("one", "other")
    found = network(IMAGES)
    assert {task: x.shape for task, x in found.items()} == {"one": (2, 7, 19, 30), "other": (2, 3, 19, 30)}
    x, left = trunk.encode(IMAGES)
    for name, whole, depth in (("one", one, last), ("other", other, 1)):
        coded = network.tree.adaptors[name](trunk.decode(x, left, stop=depth))
        assert torch.equal(found[name], whole.decode(coded, left, start=depth))


def test_only_what_is_used_is_held():
    trunk = segnet_tiny(1)
    blocks = [sum(p.numel() for p in block.parameters()) for block in trunk.decoder]
    encoder = sum(p.numel() for p in trunk.encoder.parameters())
    head = lambda outputs: sum(p.numel() for p in segnet_tiny(outputs).decoder.head.parameters())  # noqa: E731
    network = branched(trunk, {"a": (segnet_tiny(7), 3), "b": (segnet_tiny(3), 1)})
    adaptors = sum(2 * 16 * trunk.widths[depth] for depth in (3, 1))
    expected = encoder + sum(blocks[:3]) + blocks[3] + head(7) + sum(blocks[1:4]) + head(3) + adaptors
    assert cost(network, IMAGES[:1]).parameters == expected
    names = {name.split(".")[2] for name in network.state_dict() if name.startswith("tree.blocks")}
    assert names == {"up4", "up3", "up2"}


def test_a_branched_network_is_a_branch_of_another():
    both = branched(segnet_tiny(1), {"a": (segnet_tiny(7), 3), "b": (segnet_tiny(3), 2)})
    network = branched(segnet_tiny(1), {"both": (both, 1), "c": (segnet_tiny(1), 0)}).eval()
    assert network.tasks == ("a", "b", "c")
    assert network.tree.plan() == {"both": [1, {"a": [3, 7], "b": [2, 3]}], "c": [0, 1]}
    found = network(IMAGES)
    assert [tuple(found[task].shape[1:]) for task in "abc"] == [(7, 19, 30), (3, 19, 30), (1, 19, 30)]
    inner = network.tree.branches["both"]
    assert (inner.start, inner.stop, inner.first_exit) == (1, 3, 2)


def test_a_decoder_goes_on_where_no_branch_has_left():
    both = branched(segnet_tiny(1), {"a": (segnet_tiny(7), 3), "b": (segnet_tiny(3), 2)})
    assert tail(both, "both", 2).start == 2
    with pytest.raises(UsageError, match=r"'both' has no blocks from 3 on: possible are 0 to 2"):
        tail(both, "both", 3)
    with pytest.raises(UsageError, match=r"'x' has no blocks from 5 on: possible are 0 to 4"):
        branched(segnet_tiny(1), {"x": (segnet_tiny(1), 5)})


def test_what_does_not_fit_is_refused():
    with pytest.raises(UsageError, match="at least one branch"):
        branched(segnet_tiny(1), {})
    with pytest.raises(UsageError, match=r"'d' cannot go on from the trunk: its decoder has blocks of widths"):
        branched(segnet_tiny(1), {"d": (unet_tiny(1), 1)})
    inner = branched(segnet_tiny(1), {"a": (segnet_tiny(1), 1)})
    with pytest.raises(UsageError, match="two branches do task 'a'"):
        branched(segnet_tiny(1), {"a": (segnet_tiny(1), 1), "again": (inner, 1)})
    with pytest.raises(UsageError, match="'d' is a Linear"):
        branched(segnet_tiny(1), {"d": (nn.Linear(1, 1), 1)})
    deeper = segnet_tiny(1, depths=(1, 1, 2, 3))
    with pytest.raises(UsageError, match="a decoder block has other layers"):
        branched(segnet_tiny(1), {"d": (deeper, 1)})


def test_a_copy_is_independent_and_compiles_into_one_graph():
    network = branched(segnet_tiny(1), {"a": (segnet_tiny(2), 2)}).eval()
    twin = copy.deepcopy(network)
    compiled = torch.compile(network, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(IMAGES)["a"], twin(IMAGES)["a"])


def test_new_adaptors_are_of_the_dtype_of_the_trunk():
    network = branched(segnet_tiny(1).double(), {"a": (segnet_tiny(2).double(), 2)})
    assert network(IMAGES.double())["a"].dtype == torch.float64
