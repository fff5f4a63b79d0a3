"""The adapter that makes a student's features comparable with the teacher's."""

from typing import Self

import torch
from torch import Tensor, nn

from mentorch._errors import RunError, UsageError
from mentorch._math import full_precision
from mentorch.losses._maps import as_map, grid


class Regressor(nn.Module):
    """Trainable map from the student's features to the teacher's shape; the first shapes it sees choose its layers.

    Features are maps ``[N, C, H, W]``, tokens ``[N, T, C]`` or vectors ``[N, C]``, in any combination:

    =============  =============  ================================================================================
    student        teacher        layers
    =============  =============  ================================================================================
    map            map            twice as large: 3x3 convolution, stride 2; half as large: transposed 4x4
                                  convolution, stride 2; larger otherwise: valid convolution; the rest: bilinear
                                  resize, 1x1 convolution
    tokens         tokens         equally many: the same linear layer for each
    tokens         map            the tokens as a map (:class:`OnMaps` says how), then as above
    map, tokens    tokens         to a map of the teacher's positions, as above; its leading tokens are linear in
                                  the mean over positions
    any            vector         mean over positions, linear layer
    vector         any            as a map of one cell
    =============  =============  ================================================================================

    Then batch norm and, where the teacher's features are not negative, a ReLU.

    Args:
        relu: whether to end with a ReLU; by default whether the teacher's probe batch has no negative value.

    References:
        Romero et al., "FitNets: Hints for Thin Deep Nets", ICLR 2015, arXiv 1412.6550 (the regressor of the hint).

    >>> student, teacher = torch.rand(4, 16, 8, 8), torch.rand(4, 64, 4, 4)
    >>> list(Regressor().build(student, teacher)(student).shape)
    [4, 64, 4, 4]
    >>> tokens = torch.rand(4, 65, 48)  # 8 x 8 and a class token
    >>> [list(Regressor().build(a, b)(a).shape) for a, b in ((student, tokens), (tokens, student))]
    [[4, 65, 48], [4, 16, 8, 8]]
    """

    layers: nn.Sequential | None

    def __init__(self, *, relu: bool | None = None):
        super().__init__()
        self.relu = relu
        self.layers = None
        self.leading: nn.Linear | None = None
        self._shapes: tuple[tuple[int, ...], tuple[int, ...]] | None = None

    def build(self, student: Tensor, teacher: Tensor, *_: Tensor) -> Self:
        """Create the layers, on the student's device, from one batch of both sides; further sources are ignored.

        Args:
            student: features.
            teacher: features.

        Raises:
            UsageError: for features of another kind, tokens that form no map, or if it was built for other shapes.
        """
        shapes = tuple(student.shape[1:]), tuple(teacher.shape[1:])
        if self._shapes is not None:
            if shapes != self._shapes:
                raise UsageError(
                    f"this Regressor was built for {_arrow(self._shapes)}, not {_arrow(shapes)}: make another"
                )
            return self
        if not {len(shape) for shape in shapes} <= {1, 2, 3}:
            raise UsageError(
                f"Regressor maps between [C, H, W], [T, C] and [C], not {_arrow(shapes)}: tap another layer"
            )
        width, *size = _goal(*shapes)
        (example,) = full_precision(student)
        entered = _enter(example, shapes[1])
        layers = [*_convolution(tuple(entered.shape[1:]), (width, *size)), nn.BatchNorm2d(width)]
        if self.relu if self.relu is not None else bool(teacher.min() >= 0):
            layers.append(nn.ReLU())
        self.layers = nn.Sequential(*layers)
        if len(shapes[1]) == 2 and (extra := shapes[1][0] - size[0] * size[1]):
            self.leading = nn.Linear(width, extra * width)
        self.to(example.device, example.dtype).train(self.training)
        self._shapes = shapes
        return self

    def forward(self, student: Tensor) -> Tensor:
        """The student's features in the teacher's shape."""
        if self.layers is None or self._shapes is None:
            raise RunError(
                "this Regressor has no layers yet: call build(student, teacher), or give the graph an example batch"
            )
        goal = self._shapes[1]
        (student,) = full_precision(student)
        result: Tensor = self.layers(_enter(student, goal))
        if len(goal) == 3:
            return result
        if len(goal) == 1:
            return result.flatten(1)
        tokens = result.flatten(2).mT
        if self.leading is None:
            return tokens
        return torch.cat([self.leading(tokens.mean(1)).unflatten(1, (-1, goal[1])), tokens], dim=1)


def _enter(student: Tensor, goal: tuple[int, ...]) -> Tensor:
    """The student's features as a map, for a teacher of the shape ``goal`` (without the batch)."""
    if len(goal) == 1 and student.ndim > 2:
        student = student.mean((2, 3)) if student.ndim == 4 else student.mean(1)
    if student.ndim == 2:
        return student[:, :, None, None]
    if student.ndim == 4:
        return student
    if len(goal) == 2 and goal[0] == student.shape[1]:
        return student.mT.unsqueeze(3)  # a column, in which no token meets another
    return as_map(student, goal[1:] if len(goal) == 3 else (1, 1))


def _goal(source: tuple[int, ...], goal: tuple[int, ...]) -> tuple[int, int, int]:
    """Channels, height and width of the teacher's features as a map."""
    if len(goal) == 3:
        return goal[0], goal[1], goal[2]
    if len(goal) == 1:
        return goal[0], 1, 1
    if len(source) == 2 and source[0] == goal[0]:
        return goal[1], goal[0], 1
    return goal[1], *grid(goal[0], source[1:] if len(source) == 3 else (1, 1))


def _convolution(source: tuple[int, ...], goal: tuple[int, ...]) -> list[nn.Module]:
    """Layers from ``(C, H, W)`` to ``(D, I, J)``; the biases would vanish in the batch norm that follows."""
    (c, h, w), (d, i, j) = source, goal
    if (h, w) == (2 * i, 2 * j):
        return [nn.Conv2d(c, d, 3, stride=2, padding=1, bias=False)]
    if (2 * h, 2 * w) == (i, j):
        return [nn.ConvTranspose2d(c, d, 4, stride=2, padding=1, bias=False)]
    if h >= i and w >= j:
        return [nn.Conv2d(c, d, (1 + h - i, 1 + w - j), bias=False)]
    resize = nn.Upsample(size=(i, j), mode="bilinear", align_corners=False)
    return [resize, nn.Conv2d(c, d, 1, bias=False)]


def _arrow(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> str:
    return " -> ".join(str(list(shape)) for shape in shapes)
