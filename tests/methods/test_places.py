from itertools import combinations, pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from mentorch import Edge, Graph, networks
from mentorch.methods._distill._places import _before_activation, pair_by_size

SIZES = st.lists(st.sampled_from([1, 4, 16, 49, 64, 196, 256, 1024]), min_size=1, max_size=5)


@given(first=SIZES, second=SIZES)
def test_pairs_are_in_order_complete_and_the_nearest(first: list[int], second: list[int]) -> None:
    pairs = pair_by_size(first, second)
    assert len(pairs) == min(len(first), len(second))
    assert all(a < c and b < d for (a, b), (c, d) in pairwise(pairs))

    def apart(chosen: list[tuple[int, int]]) -> float:
        ratios = [first[i] / second[j] for i, j in chosen]
        return torch.tensor([max(r, 1 / r) for r in ratios], dtype=torch.float64).log().sum().item()

    n, flip = len(pairs), len(first) > len(second)
    rest = combinations(range(max(len(first), len(second))), n)
    choices = [[(j, i) if flip else (i, j) for i, j in enumerate(chosen)] for chosen in rest]
    assert apart(pairs) <= min(map(apart, choices)) + 1e-9
    assert [(j, i) for i, j in pair_by_size(second, first)] == pairs


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([1024, 256, 64], [1024, 256, 64], [(0, 0), (1, 1), (2, 2)]),
        ([256, 64, 16], [1024, 256, 64, 16], [(0, 1), (1, 2), (2, 3)]),
        ([1024, 256, 64], [196, 196, 196, 196], [(0, 0), (1, 2), (2, 3)]),  # equally near: even in depth
        ([1024, 256, 64], [65] * 12, [(0, 3), (1, 7), (2, 11)]),
        ([65] * 12, [197] * 24, [(i, 2 * i + 1) for i in range(12)]),
        ([1024, 256, 64, 16, 16], [1024, 256, 64, 16], [(0, 0), (1, 1), (2, 2), (4, 3)]),
        ([3, 3], [7], [(1, 0)]),
    ],
)
def test_examples(first: list[int], second: list[int], expected: list[tuple[int, int]]) -> None:
    assert pair_by_size(first, second) == expected


BUILDERS = [
    networks.cnn_small,
    networks.resnet8,
    networks.resnet8x4,
    networks.wrn_16_1,
    networks.vgg8,
    networks.shufflenet_v1,
]


@pytest.mark.parametrize("build", BUILDERS)
def test_the_activation_makes_the_stage_of_what_precedes_it(build) -> None:
    torch.manual_seed(0)
    network = build(10).eval()
    for stage in network.taps.stages:
        before = _before_activation(network, stage)
        assert before.endswith(":in")

        def compare(student: Tensor, *_: Tensor) -> Tensor:
            return (student[0].relu() - student[1]).abs().mean() + (student[0] >= 0).all()

        edge = Edge("inputs", (f"net.{before}", f"net.{stage}"), compare)
        (value,) = Graph({"net": network}, [edge]).eval()(torch.rand(2, 3, 32, 32)).values()
        assert value == 0


def test_a_stage_without_activation_is_its_own() -> None:
    network = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)), nn.Sequential(nn.ReLU(), nn.Conv2d(4, 4, 1))
    )
    assert [_before_activation(network, stage) for stage in ("0", "1", "0:in")] == ["0", "1", "0:in"]
