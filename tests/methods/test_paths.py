import copy
from collections import Counter

import pytest
import torch

from mentorch.methods._branch._paths import Paths
from mentorch.networks import segnet

IMAGES = torch.rand(2, 3, 10, 14, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def small(outputs: int):
    return segnet(outputs, widths=(4, 6, 8), depths=(1, 1, 1)).eval()


def paths(**options) -> Paths:
    return Paths(small(1), {"a": small(4), "b": small(1)}, **options).eval()


@pytest.mark.parametrize("own", [False, True])
def test_checkpoints_reload_and_run_before_and_after_choosing(own):
    one = paths(own=own)
    assert one.depths.dtype == torch.int64
    fresh = copy.deepcopy(one.state_dict())
    start = one(IMAGES)  # valid from construction
    chosen = one.choose({"a": 3, "b": 1})(IMAGES)
    later = copy.deepcopy(one.state_dict())
    assert later["depths"].tolist() == [3, 1]
    assert not torch.equal(chosen["a"], start["a"])
    one.load_state_dict(fresh)
    assert one.chosen == {"a": 0, "b": 0}
    assert torch.equal(one(IMAGES)["a"], start["a"])
    one.load_state_dict(later)
    assert one.chosen == {"a": 3, "b": 1}
    assert all(torch.equal(x, chosen[task]) for task, x in one(IMAGES).items())
    with torch.random.fork_rng():
        torch.manual_seed(9)
        other = Paths(small(1), {"a": small(4), "b": small(1)}, own=own)
    other.load_state_dict(later)
    assert other.chosen == {"a": 3, "b": 1}


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("depths", [{"a": 0, "b": 0}, {"a": 3, "b": 1}, {"a": 2, "b": 3}])
def test_the_export_says_the_same_with_less(own, depths):
    one = paths(own=own).choose(depths)
    exported = one.export().eval()
    assert all(torch.equal(x, one(IMAGES)[task]) for task, x in exported(IMAGES).items())
    assert exported.tree.plan() == {"a": [depths["a"], 4], "b": [depths["b"], 1]}
    assert all(p.requires_grad for p in exported.parameters())
    with torch.no_grad():
        for parameter in exported.parameters():
            parameter.zero_()
    assert one(IMAGES)["a"].any()  # a network of its own


def test_paths_drawn_at_random_follow_from_seed_and_step_and_reach_everywhere():
    one = paths(own=True, seed=3)
    one.random = True
    torch.manual_seed(0)
    drawn = [tuple(one._draw()) for _ in range(200)]
    assert one.steps == 200
    state = copy.deepcopy(one.state_dict())
    following = [tuple(one._draw()) for _ in range(5)]
    again = paths(own=True, seed=3)
    again.load_state_dict(state)
    torch.manual_seed(7)  # nobody's business
    assert [tuple(again._draw()) for _ in range(5)] == following
    assert len(set(drawn)) == 16  # every combination of 4 depths for each of 2 tasks
    counts = Counter(depth for pair in drawn for depth in pair)
    assert all(70 < counts[depth] < 130 for depth in range(4))
    assert [tuple(paths(own=True, seed=4)._draw()) for _ in range(1)] + drawn[1:3] != drawn[:3]


def test_evaluation_draws_nothing():
    one = paths(own=True)
    one.random = True
    first, second = one(IMAGES), one(IMAGES)
    assert torch.equal(first["a"], second["a"])
    assert one.steps == 0
    one.train()(IMAGES)
    assert one.steps == 1


def test_copies_are_parts_of_it_and_teachers_are_not():
    teacher = small(4)
    assert not any("copies" in name for name in Paths(small(1), {"a": teacher}).state_dict())
    own = Paths(small(1), {"a": teacher}, own=True)
    assert any(name.startswith("copies.a") for name, _ in own.named_parameters())
    assert not {id(p) for p in own.parameters()} & {id(p) for p in teacher.parameters()}
