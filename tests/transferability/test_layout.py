import itertools

import pytest
import torch
from torch import Tensor

from mentorch.transferability._atlas._layout import layout
from mentorch.transferability._atlas._neighbours import SHARES, neighbours


def drawn(table, count: int) -> dict[float, Tensor]:
    return dict(layout(table, torch.arange(count), neighbours(table, torch.arange(count))))


@pytest.fixture(scope="module")
def maps(cloud) -> dict[float, Tensor]:
    return drawn(cloud(60, noise=0.5), 60)


def test_groups_are_apart_on_every_map(maps: dict[float, Tensor]):
    assert tuple(maps) == SHARES
    for plane in maps.values():
        gaps = torch.cdist(plane, plane).fill_diagonal_(torch.inf)
        assert (gaps.argmin(1) % 4 == torch.arange(60) % 4).all()


def test_maps_are_of_one_size_and_no_two_networks_are_drawn_over_each_other(maps: dict[float, Tensor]):
    for plane in maps.values():
        assert plane.shape == (60, 2)
        assert plane.mean(0).abs().max() < 0.05
        assert 0.8 < float(plane.square().sum(1).mean()) < 1.5
        gaps = torch.cdist(plane, plane).fill_diagonal_(torch.inf)
        assert gaps.min() > 0.5 * 0.9 / 60**0.5


def test_networks_move_little_from_map_to_map(maps: dict[float, Tensor]):
    """As far as to another group they would move a distance of about one; here both parts have the same groups."""
    for before, after in itertools.pairwise(maps.values()):
        assert (after - before).norm(dim=1).median() < 0.5


def test_the_same_zoo_is_drawn_the_same_way(cloud, maps: dict[float, Tensor]):
    again = drawn(cloud(60, noise=0.5), 60)
    assert all(torch.equal(again[at], maps[at]) for at in SHARES)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 9])
def test_few_networks_are_drawn_too(cloud, count: int):
    for plane in drawn(cloud(count), count).values():
        assert plane.shape == (count, 2)
        assert plane.isfinite().all()


def test_equal_networks_lie_beside_each_other(cloud):
    table = cloud(3).select(torch.tensor([0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]))
    for plane in drawn(table, 12).values():
        assert plane.isfinite().all()
        assert torch.pdist(plane).min() > 0
