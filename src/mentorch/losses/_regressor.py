"""The adapter that makes a student's features comparable with the teacher's."""

from typing import Self

from torch import Tensor, nn

from mentorch._errors import RunError, UsageError
from mentorch._math import full_precision


class Regressor(nn.Module):
    """Trainable map from the student's features to the teacher's shape; the first shapes it sees choose its layers.

    Maps: a 3x3 convolution of stride 2 where the student's is twice as large, a transposed 4x4 convolution where it
        is half as
    large, a valid convolution where it is larger otherwise, and a bilinear resize with a 1x1 convolution in the rest.
    Vectors: a linear layer. Then batch norm and, where the teacher's features are not negative, a ReLU.

    Args:
        relu: whether to end with a ReLU; by default whether the teacher's probe batch has no negative value.

    References:
        Romero et al., "FitNets: Hints for Thin Deep Nets", ICLR 2015, arXiv 1412.6550 (the regressor of the hint).

    >>> import torch
    >>> student, teacher = torch.rand(4, 16, 8, 8), torch.rand(4, 64, 4, 4)
    >>> list(Regressor().build(student, teacher)(student).shape)
    [4, 64, 4, 4]
    """

    layers: nn.Sequential | None

    def __init__(self, *, relu: bool | None = None):
        super().__init__()
        self.relu = relu
        self.layers = None
        self._shapes: tuple[tuple[int, ...], tuple[int, ...]] | None = None

    def build(self, student: Tensor, teacher: Tensor, *_: Tensor) -> Self:
        """Create the layers, on the student's device, from one batch of both sides; further sources are ignored.

        Args:
            student: features, shape ``[N, C, H, W]`` or ``[N, C]``.
            teacher: features, shape ``[N, D, I, J]`` or ``[N, D]``.

        Raises:
            UsageError: if one side is a map and the other a vector, or if it was built for other shapes.
        """
        shapes = tuple(student.shape[1:]), tuple(teacher.shape[1:])
        if self._shapes is not None:
            if shapes != self._shapes:
                raise UsageError(
                    f"this Regressor was built for {_arrow(self._shapes)}, not {_arrow(shapes)}: make another"
                )
            return self
        source, goal = shapes
        if (len(source), len(goal)) == (3, 3):
            layers = [*_convolution(source, goal), nn.BatchNorm2d(goal[0])]
        elif (len(source), len(goal)) == (1, 1):
            layers = [nn.Linear(source[0], goal[0], bias=False), nn.BatchNorm1d(goal[0])]
        else:
            raise UsageError(
                f"Regressor maps [C, H, W] to [D, I, J] or [C] to [D], not {_arrow(shapes)}: tap another layer"
            )
        if self.relu if self.relu is not None else bool(teacher.min() >= 0):
            layers.append(nn.ReLU())
        (example,) = full_precision(student)
        self.layers = nn.Sequential(*layers).to(example.device, example.dtype).train(self.training)
        self._shapes = shapes
        return self

    def forward(self, student: Tensor) -> Tensor:
        """The student's features in the teacher's shape."""
        if self.layers is None:
            raise RunError(
                "this Regressor has no layers yet: call build(student, teacher), or give the graph an example batch"
            )
        (student,) = full_precision(student)
        result: Tensor = self.layers(student)
        return result


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
