import pytest
import torch
from torch import Tensor

from mentorch._errors import UsageError
from mentorch.transferability import Embeddings
from mentorch.transferability._atlas import _neighbours
from mentorch.transferability._atlas._neighbours import Neighbours, mixture, neighbours, parts, share


def sorted_pairs(table: Embeddings, at: float) -> Tensor:
    """All others of each network, best first, equals by position: one pair at a time."""
    v, e = ((part.double() @ part.double().mT / part.shape[1]) for part in (table.nodes, table.edges))
    value = ((1 - at) * v + at * e).mul(1e5).round().long()
    rows = [
        sorted((j for j in range(len(table)) if j != i), key=lambda j: (-int(value[i, j]), j))
        for i in range(len(table))
    ]
    return torch.tensor(rows)


def agreement(found: Tensor, expected: Tensor) -> float:
    """Share of neighbours in common: single precision may swap two that differ in the sixth decimal."""
    return sum(len({*a} & {*b}) for a, b in zip(found.tolist(), expected.tolist(), strict=True)) / found.numel()


@pytest.mark.parametrize("weight", [0.0, 0.1, 0.25, 1.0, 2.5, 9.0])
def test_neighbours_are_right_at_weights_that_nobody_searched_at(cloud, weight: float):
    table = cloud(120)
    near = neighbours(table, torch.arange(120), keep=40).nearest(6, weight=weight)
    assert near.index.shape == (120, 6)
    assert agreement(near.index, sorted_pairs(table, share(weight))[:, :6]) > 0.998


def test_values_are_inner_products_and_fall(cloud):
    table = cloud(30)
    near = neighbours(table, torch.arange(30), keep=29).nearest(29, weight=3.0)
    for i in range(30):
        for part, found in ((table.nodes, near.nodes), (table.edges, near.edges)):
            expected = part[near.index[i]].double() @ part[i].double() / part.shape[1]
            torch.testing.assert_close(found[i].double(), expected, rtol=0, atol=1e-6)
    mixed = mixture(near.nodes, near.edges, share(3.0))
    assert (mixed.diff(dim=1) < 1e-5).all()
    assert not (near.index == torch.arange(30)[:, None]).any()


def test_equals_come_in_order_and_there_are_exactly_k(cloud):
    table = cloud(9)
    same = table.select(torch.tensor([4, 0, 4, 4, 1, 4, 4, 2]))
    near = neighbours(same, torch.arange(8)).nearest(3)
    assert near.index.shape == (8, 3)
    assert near.index[0].tolist() == [2, 3, 5]
    assert near.index[6].tolist() == [0, 2, 3]
    torch.testing.assert_close(near.nodes[0], torch.ones(3), rtol=0, atol=1e-3)


def test_rows_choose_and_order_networks(cloud):
    table, rows = cloud(20), torch.tensor([19, 3, 7, 0, 11])
    near, own = neighbours(table, rows), neighbours(table.select(rows), torch.arange(5))
    assert torch.equal(near.index, own.index)
    assert torch.equal(near.edges, own.edges)


def test_blocks_do_not_matter(cloud, monkeypatch: pytest.MonkeyPatch):
    table, rows = cloud(23), torch.arange(23)
    whole = neighbours(table, rows, keep=7)
    monkeypatch.setattr(_neighbours, "_ROWS", 5)
    monkeypatch.setattr(_neighbours, "_COLUMNS", 4)
    assert torch.equal(neighbours(table, rows, keep=7).index, whole.index)
    blocks = [block for block, *_ in parts(table, rows, rows[:3])]
    assert [(block.start, block.stop) for block in blocks] == [(0, 5), (5, 10), (10, 15), (15, 20), (20, 23)]


def test_few_networks_have_few_neighbours(cloud):
    one, two = (neighbours(cloud(count), torch.arange(count)) for count in (1, 2))
    assert one.nearest(5).index.shape == (1, 0)
    assert two.nearest(5).index.tolist() == [[1], [0]]


def test_wrong_use_is_named(cloud):
    near = neighbours(cloud(30), torch.arange(30), keep=8)
    assert isinstance(near, Neighbours)
    for k in (0, 9):
        with pytest.raises(UsageError, match=f"k must be between 1 and 8, the neighbours that were kept, not {k}"):
            near.nearest(k)
    for weight in (-1.0, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="weight of the edges must be 0 or more"):
            near.nearest(2, weight=weight)
