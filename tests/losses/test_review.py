import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mentorch import Edge, Graph, freeze, networks
from mentorch._errors import UsageError
from mentorch.losses import Review
from mentorch.losses._review import level_loss

STUDENT = (3, 4, 8, 8), (3, 6, 4, 4), (3, 5)
TEACHER = (3, 7, 8, 8), (3, 9, 4, 4), (3, 10)


def maps(seed: int, *shapes: tuple[int, ...]) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(shape, dtype=torch.float64, generator=generator) for shape in shapes)


def test_golden_values_of_a_level(golden, near):
    near(level_loss(golden.student_map, golden.teacher_map), [0.64375, 1.975])
    ramp = torch.arange(64, dtype=torch.float64).view(1, 1, 8, 8) / 64
    near(level_loss(ramp, torch.zeros_like(ramp)), [0.316305])


def test_a_level_is_the_plain_error_for_one_cell_and_a_constant_counts_alike_at_every_size():
    a, b = maps(0, (2, 5, 1, 1), (2, 5, 1, 1))
    torch.testing.assert_close(level_loss(a, b), (a - b).square().mean((1, 2, 3)))
    for side in (1, 2, 3, 4, 7, 8):
        (x,) = maps(1, (2, 3, side, side))
        torch.testing.assert_close(level_loss(x + 0.5, x), torch.full((2,), 0.25, dtype=torch.float64))
        assert torch.equal(level_loss(x, x), torch.zeros(2, dtype=torch.float64))


def pointwise(x: torch.Tensor, layer: nn.Conv2d) -> torch.Tensor:
    y = torch.einsum("nchw,dc->ndhw", x, layer.weight[:, :, 0, 0])
    return y if layer.bias is None else y + layer.bias.view(-1, 1, 1)


def test_equals_the_fusion_written_out():
    student, teachers = maps(0, *STUDENT), maps(1, *TEACHER)
    loss = Review().build(student, *teachers).eval()
    first, second, last = loss.levels
    tiny = 1 / (1 + 1e-5) ** 0.5  # batch norm in evaluation mode, as built
    deepest = pointwise(student[2][:, :, None, None], last.enter[0]) * tiny
    x = pointwise(student[1], second.enter[0]) * tiny
    a = pointwise(torch.cat([x, deepest.expand_as(x)], 1), second.shares).sigmoid()
    middle = a[:, 0:1] * x + a[:, 1:2] * deepest
    x = pointwise(student[0], first.enter[0]) * tiny
    wide = middle.repeat_interleave(2, 2).repeat_interleave(2, 3)
    a = pointwise(torch.cat([x, wide], 1), first.shares).sigmoid()
    shallow = a[:, 0:1] * x + a[:, 1:2] * wide
    expected = torch.zeros(3, dtype=torch.float64)
    for level, fused, teacher in zip(loss.levels, (shallow, middle, deepest), teachers, strict=True):
        goal = teacher if teacher.ndim == 4 else teacher[:, :, None, None]
        expected += level_loss(F.conv2d(fused, level.leave[0].weight, padding=1) * tiny, goal)
    torch.testing.assert_close(loss(student, *teachers), expected)
    assert last.shares is None


def test_the_shallow_level_teaches_the_deep_ones():
    student, teachers = maps(0, *STUDENT), maps(1, *TEACHER)
    loss = Review().build(student, *teachers)
    for level in loss.levels[1:]:
        nn.init.zeros_(level.leave[0].weight)  # what deeper levels say themselves is now constant
    embedding = student[2].requires_grad_()
    loss(student, *teachers).sum().backward()
    assert embedding.grad.abs().sum() > 0


@pytest.mark.parametrize("sizes", [((8, 6), (4, 3)), ((4, 4), (8, 8)), ((16, 4), (5, 7))])
def test_sizes_are_read_from_the_maps(sizes):
    student = maps(0, (2, 4, *sizes[0]), (2, 6, *sizes[1]), (2, 5))
    teachers = maps(1, (2, 7, 8, 6), (2, 9, 3, 5), (2, 10))
    loss = Review().build(student, *teachers)
    value = loss(student, *teachers)
    assert value.shape == (2,)
    assert value.isfinite().all()


@pytest.mark.parametrize(("embedding", "width", "expected"), [(5, None, 5), (700, None, 512), (5, 9, 9)])
def test_the_width_is_the_embeddings_unless_told(embedding: int, width: int | None, expected: int):
    student, teachers = maps(0, (2, 4, 2, 2), (2, embedding)), maps(1, (2, 3, 2, 2), (2, 3))
    loss = Review(width=width).build(student, *teachers)
    assert {level.enter[0].out_channels for level in loss.levels} == {expected}


def test_trains_between_two_networks():
    torch.manual_seed(0)
    nodes = {"big": freeze(networks.resnet14()), "small": networks.resnet8()}
    big, small = (
        [f"{name}.{place}" for place in (*node.taps.stages, node.taps.embedding)] for name, node in nodes.items()
    )
    inputs = torch.rand(4, 3, 16, 16)
    graph = Graph(nodes, [Edge(big, small, Review())], example=(inputs,))
    optimizer, values = torch.optim.SGD(graph.parameters_of("small"), lr=0.05), []
    for _ in range(20):
        optimizer.zero_grad()
        values.append(sum(graph(inputs).values()))
        values[-1].backward()
        optimizer.step()
    assert values[-1] < 0.9 * values[0]


def test_wrong_use_is_named():
    one = torch.zeros(2, 3, 4, 4)
    with pytest.raises(UsageError, match="two or more on each side, got 1 and 1"):
        Review().build(one, one)
    with pytest.raises(UsageError, match="got 2 and 1"):
        Review().build((one, one), one)
    with pytest.raises(UsageError, match=r"maps \[N, C, H, W\] or vectors \[N, C\], got \[2, 3, 4\]"):
        Review().build((one, one), one, torch.zeros(2, 3, 4))
    with pytest.raises(UsageError, match="positive, not 0"):
        Review(width=0)
