import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mentorch import UsageError
from mentorch.data._splits import hold_out, part_size, stratified_order, subset

LABELS = st.lists(st.integers(0, 6), min_size=1, max_size=200).map(torch.tensor)


@given(LABELS, st.integers(0, 2**40))
def test_every_beginning_has_the_class_proportions_of_the_whole(labels, seed):
    order = stratified_order(labels, seed)
    assert order.sort().values.tolist() == list(range(len(labels)))
    share = labels.bincount(minlength=7).double() / len(labels)
    for size in range(1, len(labels) + 1):
        counts = labels[order[:size]].bincount(minlength=7).double()
        # half a sample per class, and what the rounding of the other classes moves
        assert ((counts - size * share).abs() <= 0.5 + 3.5 * share + 1e-9).all()


@given(LABELS, st.integers(0, 1000), st.data())
def test_held_out_rows_are_disjoint_from_the_kept_and_nothing_is_lost(labels, seed, data):
    size = data.draw(st.integers(0, len(labels)))
    kept, out = hold_out(labels, size, seed)
    assert len(out) == size
    assert sorted(kept.tolist() + out.tolist()) == list(range(len(labels)))
    again = hold_out(labels, size, seed)
    assert torch.equal(kept, again[0])
    assert torch.equal(out, again[1])


@given(LABELS, st.integers(0, 1000), st.data())
def test_a_smaller_subset_is_part_of_a_larger_one(labels, seed, data):
    small, large = sorted(data.draw(st.tuples(*[st.integers(1, len(labels))] * 2)))
    inner, outer = (set(subset(labels, size, seed).tolist()) for size in (small, large))
    assert len(inner) == small
    assert inner <= outer


def test_balanced_classes_are_split_exactly():
    labels = torch.arange(1000) % 10
    kept, out = hold_out(labels, 100, seed=3)
    assert labels[out].bincount().tolist() == [10] * 10
    assert labels[kept].bincount().tolist() == [90] * 10
    assert labels[subset(labels, 10, 0)].bincount().tolist() == [1] * 10


def test_another_seed_is_another_split():
    labels = torch.arange(1000) % 10
    assert not torch.equal(hold_out(labels, 100, 0)[1], hold_out(labels, 100, 1)[1])


def test_which_rows_of_a_class_are_chosen_is_uniform():
    labels = torch.arange(40) % 2
    chosen = torch.stack([torch.zeros(40).index_fill(0, hold_out(labels, 10, seed)[1], 1) for seed in range(1000)])
    counts = chosen.sum(dim=0)
    assert (counts - 250).abs().max() < 5 * (1000 * 0.25 * 0.75) ** 0.5


def test_no_size_is_everything():
    assert subset(torch.tensor([1, 0, 1]), None, 0).tolist() == [0, 1, 2]


@pytest.mark.parametrize(("amount", "size"), [(0.1, 10), (0.0, 0), (0, 0), (99, 99), (0.255, 26)])
def test_part_size(amount, size):
    assert part_size("validation", amount, 100) == size


@pytest.mark.parametrize("amount", [1.0, -0.1, 100, -1, True, float("nan"), 0.999, None, "a"])
def test_impossible_parts_are_refused(amount):
    with pytest.raises(UsageError, match="validation must be a fraction"):
        part_size("validation", amount, 100)


@pytest.mark.parametrize("size", [0, 4])
def test_impossible_subsets_are_refused(size):
    with pytest.raises(UsageError, match=r"train_size must lie in \[1, 3\]"):
        subset(torch.tensor([1, 0, 1]), size, 0)
