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


SHAPES = [(6, 8, 8), (6, 4, 4), (64, 6), (65, 6), (17, 6), (6,)]


@pytest.mark.parametrize("goal", [(5, *shape[1:]) if len(shape) != 2 else (shape[0], 5) for shape in SHAPES])
@pytest.mark.parametrize("source", SHAPES)
@pytest.mark.parametrize("half", [False, True])
def test_everything_gets_the_shape_of_everything(source, goal, half):
    regressor = build(source, goal, relu=False)
    x = torch.randn(3, *source, requires_grad=True)
    found = regressor(x.half() if half else x)
    assert found.shape == (3, *goal)
    assert found.dtype is torch.float32
    found.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in regressor.parameters())
    assert x.grad.isfinite().all()


def plain(regressor: Regressor) -> Regressor:
    """Without batch norm and ReLU."""
    regressor.layers = nn.Sequential(*[m for m in regressor.layers if not isinstance(m, nn.BatchNorm2d | nn.ReLU)])
    return regressor


def test_vectors_get_a_linear_layer():
    regressor, x = plain(build((6,), (9,))), torch.randn(2, 6)
    torch.testing.assert_close(regressor(x), x @ regressor.layers[0].weight[:, :, 0, 0].mT)


def test_equally_many_tokens_get_a_linear_layer_each():
    regressor, x = plain(build((7, 6), (7, 9))), torch.randn(2, 7, 6)  # 7 are no square: nobody asks
    torch.testing.assert_close(regressor(x), x @ regressor.layers[0].weight[:, :, 0, 0].mT)


@pytest.mark.parametrize("source", [(6, 8, 4), (21, 6), (6,)])
def test_of_a_vector_the_mean_is_compared(source):
    regressor, x = plain(build(source, (9,))), torch.randn(2, *source)
    mean = x.mean((2, 3)) if x.ndim == 4 else x.mean(1) if x.ndim == 3 else x
    torch.testing.assert_close(regressor(x), mean @ regressor.layers[0].weight[:, :, 0, 0].mT)


def test_tokens_are_the_rows_of_a_map_without_the_leading_ones():
    regressor, x = plain(build((19, 6), (9, 4, 4))), torch.randn(2, 19, 6)
    torch.testing.assert_close(regressor(x), regressor.layers(x[:, 3:].mT.reshape(2, 6, 4, 4)))


def test_a_map_becomes_tokens_and_leading_ones_come_from_its_mean():
    regressor, x = plain(build((6, 4, 4), (18, 9))), torch.randn(2, 6, 4, 4)
    tokens = regressor.layers(x).flatten(2).mT
    found = regressor(x)
    torch.testing.assert_close(found[:, 2:], tokens)
    torch.testing.assert_close(found[:, :2].flatten(1), regressor.leading(tokens.mean(1)))


def test_tokens_of_oblong_images_follow_the_map():
    assert plain(build((33, 6), (9, 8, 16)))(torch.randn(2, 33, 6)).shape == (2, 9, 8, 16)
    assert build((9, 8, 16), (33, 6))(torch.randn(2, 9, 8, 16)).shape == (2, 33, 6)
    with pytest.raises(UsageError, match="33 tokens are no map of 1 : 3"):
        build((33, 6), (9, 5, 15))


@pytest.mark.parametrize(("source", "goal"), [((65, 6), (9, 4, 4)), ((6, 8, 8), (17, 9)), ((6, 8, 8), (9,))])
def test_compiles_into_one_graph(source, goal):
    regressor, x = build(source, goal), torch.randn(3, *source)
    torch.testing.assert_close(torch.compile(regressor, backend="aot_eager", fullgraph=True)(x), regressor(x))


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
    with pytest.raises(UsageError, match=r"not \[3, 8, 8, 8\] -> \[5\]: tap another layer"):
        Regressor().build(torch.zeros(2, 3, 8, 8, 8), torch.zeros(2, 5))
