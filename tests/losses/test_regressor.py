import pytest
import torch
from torch import nn

from mentorch._errors import RunError, UsageError
from mentorch.losses import Regressor


def build(source: tuple[int, ...], goal: tuple[int, ...], **options: bool | None) -> Regressor:
    torch.manual_seed(0)
    return Regressor(**options).build(torch.randn(4, *source), torch.randn(4, *goal))


@pytest.mark.parametrize(
    ("source", "goal", "layer", "kernel"),
    [
        ((3, 8, 8), (5, 4, 4), nn.Conv2d, (3, 3)),
        ((3, 4, 6), (5, 8, 12), nn.ConvTranspose2d, (4, 4)),
        ((3, 4, 4), (5, 4, 4), nn.Conv2d, (1, 1)),
        ((3, 7, 9), (5, 4, 4), nn.Conv2d, (4, 6)),
        ((3, 8, 4), (5, 4, 4), nn.Conv2d, (5, 1)),
        ((3, 3, 3), (5, 7, 7), nn.Upsample, None),
        ((3, 8, 2), (5, 4, 4), nn.Upsample, None),
    ],
)
def test_maps_get_the_layer_of_the_table(source, goal, layer, kernel):
    regressor = build(source, goal)
    assert isinstance(regressor.layers[0], layer)
    assert kernel is None or regressor.layers[0].kernel_size == kernel
    assert regressor(torch.randn(2, *source)).shape == (2, *goal)


def test_vectors_get_a_linear_layer():
    regressor = build((6,), (9,))
    assert [type(m) for m in regressor.layers] == [nn.Linear, nn.BatchNorm1d]
    assert regressor(torch.randn(2, 6)).shape == (2, 9)


@pytest.mark.parametrize(
    ("relu", "teacher", "expected"),
    [(None, "rand", True), (None, "randn", False), (False, "rand", False), (True, "randn", True)],
)
def test_relu_follows_the_teacher_unless_told(relu, teacher, expected):
    torch.manual_seed(0)
    regressor = Regressor(relu=relu).build(torch.randn(4, 3, 4, 4), getattr(torch, teacher)(4, 3, 4, 4))
    assert isinstance(regressor.layers[-1], nn.ReLU) is expected
    assert bool((regressor(torch.randn(4, 3, 4, 4)) >= 0).all()) is expected


def test_same_seed_same_weights():
    first, second = (build((3, 8, 8), (5, 4, 4)).state_dict() for _ in range(2))
    assert first
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_state_survives_a_round_trip_and_every_parameter_learns():
    regressor = build((3, 8, 8), (5, 4, 4))
    before = {name: p.detach().clone() for name, p in regressor.named_parameters()}
    optimizer = torch.optim.SGD(regressor.parameters(), lr=0.1)
    x = torch.randn(4, 3, 8, 8)
    regressor(x).sub(1).square().sum().backward()
    optimizer.step()
    assert all(not torch.equal(p, before[name]) for name, p in regressor.named_parameters())
    torch.manual_seed(1)
    copy = Regressor().build(x, torch.randn(4, 5, 4, 4))
    copy.load_state_dict(regressor.state_dict())
    assert torch.equal(copy.eval()(x), regressor.eval()(x))


def test_dtype_and_mode_follow():
    regressor = Regressor().eval().build(torch.randn(2, 3, dtype=torch.float64), torch.randn(2, 4))
    assert all(p.dtype is torch.float64 for p in regressor.parameters())
    assert not any(m.training for m in regressor.modules())
    half = Regressor().build(torch.randn(2, 3, dtype=torch.bfloat16), torch.randn(2, 4))
    assert half(torch.randn(2, 3, dtype=torch.bfloat16)).dtype is torch.float32


def test_is_built_once_and_before_use():
    with pytest.raises(RunError, match="no layers yet"):
        Regressor()(torch.zeros(2, 3))
    regressor = build((3, 8, 8), (5, 4, 4))
    weight = regressor.layers[0].weight
    regressor.build(
        torch.zeros(7, 3, 8, 8), torch.zeros(7, 5, 4, 4), torch.zeros(7)
    )  # the same shapes: nothing happens
    assert regressor.layers[0].weight is weight
    with pytest.raises(UsageError, match=r"built for \[3, 8, 8\] -> \[5, 4, 4\], not \[3, 4, 4\]"):
        regressor.build(torch.zeros(2, 3, 4, 4), torch.zeros(2, 5, 4, 4))
    with pytest.raises(UsageError, match=r"not \[3, 8, 8\] -> \[5\]"):
        Regressor().build(torch.zeros(2, 3, 8, 8), torch.zeros(2, 5))
