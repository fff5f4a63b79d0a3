import functools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from mentorch import Edge, Graph, UsageError, losses
from mentorch.losses import VID, OnMaps, attention, kd
from mentorch.losses._maps import as_map, grid


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@given(
    rows=st.integers(1, 4),
    columns=st.integers(1, 4),
    scale=st.integers(3, 9),
    leading=st.integers(0, 5),
    k=st.integers(1, 4),
)
def test_a_map_comes_back_from_its_tokens(rows, columns, scale, leading, k):
    height, width = rows * scale, columns * scale
    image = torch.randn(2, 3, height, width)
    tokens = torch.cat([torch.randn(2, leading, 3), image.flatten(2).mT], dim=1)
    assert torch.equal(as_map(tokens, like=(k * rows, k * columns)), image)


@pytest.mark.parametrize(
    ("count", "like", "expected"),
    [(64, (1, 1), (8, 8)), (65, (7, 7), (8, 8)), (201, (1, 1), (14, 14)), (15, (9, 15), (3, 5)), (1, (4, 4), (1, 1))],
)
def test_grids(count, like, expected):
    assert grid(count, like) == expected


@pytest.mark.parametrize(("count", "like"), [(128, (1, 1)), (20, (3, 1)), (2, (1, 3)), (42, (1, 1))])
def test_tokens_that_form_no_map_are_refused(count, like):
    with pytest.raises(UsageError, match=f"{count} tokens are no map of {like[0]} : {like[1]}"):
        grid(count, like)


def seen(student, *sources: Tensor):
    """What a wrapped loss is given."""
    caught = []
    OnMaps(lambda *tensors: caught.append(tensors) or torch.zeros(()))(student, *sources)
    return caught[0]


def test_tokens_become_maps_and_all_else_passes():
    tokens, image, vector = torch.randn(2, 17, 6), torch.randn(2, 4, 8, 8), torch.randn(2, 5)
    labels, index, dense = torch.tensor([1, 2]), torch.tensor([7, 8]), torch.zeros(2, 8, 8, dtype=torch.long)
    own, *rest = seen((tokens, vector), image, tokens, labels, index, dense)
    assert own[0].shape == (2, 6, 4, 4)
    assert own[1] is vector
    assert rest[0] is image
    assert torch.equal(rest[1], own[0])
    assert [a is b for a, b in zip(rest[2:], (labels, index, dense), strict=True)] == [True] * 3


def test_equally_many_tokens_that_form_no_map_are_a_column():
    a, b = seen(torch.randn(2, 128, 6), torch.randn(2, 128, 9))
    assert (a.shape, b.shape) == ((2, 6, 128, 1), (2, 9, 128, 1))
    with pytest.raises(UsageError, match="128 tokens are no map"):
        seen(torch.randn(2, 128, 6), torch.randn(2, 64, 9))


def test_the_value_is_that_of_the_maps():
    tokens, image = torch.randn(3, 17, 6), torch.randn(3, 4, 8, 8)
    expected = attention(tokens[:, 1:].mT.reshape(3, 6, 4, 4), image)
    assert torch.equal(OnMaps(attention)(tokens, image), expected)
    compiled = torch.compile(OnMaps(attention), backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(tokens, image), expected)
    torch.testing.assert_close(OnMaps(attention)(tokens.half(), image.half()), expected, rtol=0.02, atol=1e-4)


def test_weights_of_the_loss_are_built_trained_and_saved():
    nodes = {"small": nn.Linear(6, 6), "big": nn.Conv2d(3, 4, 1)}
    inputs = torch.randn(3, 17, 6)
    views = {"big": lambda tokens: tokens[:, 1:].mT[:, :3].reshape(-1, 3, 4, 4)}
    edges = [Edge("big", "small", OnMaps(VID())), Edge("small", "big", OnMaps(VID()))]
    graph = Graph(nodes, edges, views=views, example=(inputs,))
    assert graph.edges[0].name == "big -> small: VID"
    names = {name for name, _ in graph.named_parameters() if "owned.0.loss.loss" in name}
    assert any("rho" in name for name in names)
    sum(graph(inputs).values()).backward()
    assert all(parameter.grad is not None for parameter in graph.parameters())
    weights = {id(p) for p in graph.owned["0"].parameters()}
    assert weights <= {id(p) for p in graph.parameters_of("small")}


def test_it_is_known_by_what_it_wraps():
    assert losses.about(OnMaps(functools.partial(attention, power=1.0))).name == "attention"
    assert OnMaps(functools.partial(attention, power=1.0)).__name__ == "attention"
    with pytest.raises(UsageError, match="bind options before the weights are made"):
        OnMaps(functools.partial(VID(), power=2))
    assert OnMaps(kd).build(torch.zeros(2, 3), torch.zeros(2, 3)).loss is kd


def test_sizes_may_be_symbols() -> None:
    """As they are once a compiler has seen several sizes."""
    compiled = torch.compile(OnMaps(losses.attention), backend="eager", fullgraph=True, dynamic=True)
    for size in (8, 4):
        tokens, maps = torch.randn(2, size**2 + 1, 6), torch.randn(2, 3, size, size)
        torch.testing.assert_close(compiled(tokens, maps), OnMaps(losses.attention)(tokens, maps))
