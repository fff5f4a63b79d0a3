"""Distillation with the teacher's classifier reused."""

import copy
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mentorch._errors import RunError, UsageError
from mentorch._math import full_precision, squared_error
from mentorch.losses._info import LossInfo


class SimKD(nn.Module):
    r"""Difference of the last maps, after a projector that stays: the student ends in the teacher's classifier (SimKD).

    .. math:: \ell_b = mean_{chw} (\pi(F_s) - F_t)^2

    with the projector pi: three convolutions (1x1, 3x3, 1x1), each with batch norm and ReLU, through ``1 / factor`` of
    the teacher's channels. The larger map is averaged down to the smaller. Kind ``sample``. Published: weight 1, and
    nothing else: no loss on labels or logits (CIFAR-100).

    The student's own classifier learns nothing. The network that was trained is body, projector and the teacher's
    classifier: :meth:`export` makes it, and it is the one to evaluate and to count.

    Args:
        teacher_head: the teacher's classifier, reading the mean of its last map. It is not a part of this module, and
            is not changed.
        factor: how much narrower the middle of the projector is.

    Raises:
        UsageError: for a factor below 1.

    References:
        Chen et al., "Knowledge Distillation with the Reused Teacher Classifier", CVPR 2022, arXiv 2203.14001,
            equation 2.

    >>> _ = torch.manual_seed(0)
    >>> student, teacher = torch.rand(4, 8, 8, 8), torch.rand(4, 16, 4, 4)
    >>> simkd = SimKD(teacher_head=nn.Linear(16, 10)).build(student, teacher)
    >>> list(simkd(student, teacher).shape), list(simkd.predict(student).shape)
    ([4], [4, 10])
    """

    projector: nn.Sequential | None

    def __init__(self, *, teacher_head: nn.Module, factor: int = 2):
        super().__init__()
        if factor < 1:
            raise UsageError(f"SimKD: factor must be at least 1, not {factor}")
        self._head: tuple[nn.Module] = (
            teacher_head,
        )  # in a tuple, as it belongs to the teacher: neither trained nor saved here
        self.factor = factor
        self.projector = None
        self._shapes: tuple[tuple[int, ...], tuple[int, ...]] | None = None
        self._size: tuple[int, int] = (0, 0)

    def build(self, student: Tensor, teacher: Tensor, *_: Tensor) -> Self:
        """Create the projector for maps ``[N, C, H, W]`` and ``[N, D, I, J]``.

        Raises:
            UsageError: for features that are not maps, a classifier of another width than the teacher's map, or if it
                was built for other shapes.
        """
        shapes = tuple(student.shape[1:]), tuple(teacher.shape[1:])
        if self._shapes is not None:
            if shapes != self._shapes:
                raise UsageError(f"this SimKD was built for {self._shapes}, not {shapes}: make another")
            return self
        if (student.ndim, teacher.ndim) != (4, 4):
            raise UsageError(f"SimKD: needs two maps [N, C, H, W], got {[list(x.shape) for x in (student, teacher)]}")
        channels, *size = shapes[1]
        if (reads := getattr(self._head[0], "in_features", channels)) != channels:
            raise UsageError(
                f"SimKD: the teacher's classifier reads {reads} numbers, its map has {channels} channels: name the map "
                "before its pool, with pair= or as the edge's source"
            )
        middle = max(1, channels // self.factor)
        (example,) = full_precision(student)
        self.projector = nn.Sequential(
            *_block(shapes[0][0], middle, 1), *_block(middle, middle, 3), *_block(middle, channels, 1)
        ).to(example.device, example.dtype)
        self.projector.train(self.training)
        self._shapes, self._size = shapes, (min(student.shape[2], size[0]), min(student.shape[3], size[1]))
        return self

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """One value per sample, at least 0, shape ``[N]``.

        Args:
            student: the last map, shape ``[N, C, H, W]``.
            teacher: the last map, shape ``[N, D, I, J]``; no gradient reaches it.

        Raises:
            RunError: before :meth:`build`.
        """
        (teacher,) = full_precision(teacher.detach())
        with torch.autocast(student.device.type, enabled=False):
            projected = self.project(*full_precision(student))
        return squared_error(projected, F.adaptive_avg_pool2d(teacher, self._size))

    def project(self, student: Tensor) -> Tensor:
        """The student's last map as the teacher would draw it, ``[N, D, min(H, I), min(W, J)]``."""
        if self.projector is None:
            raise RunError(
                "this SimKD has no layers yet: call build(student, teacher), or give the graph an example batch"
            )
        result: Tensor = self.projector(F.adaptive_avg_pool2d(student, self._size))
        return result

    def predict(self, student: Tensor) -> Tensor:
        """Logits from the student's last map: the teacher's classifier on the mean of the projected map."""
        logits: Tensor = self._head[0](self.project(student).mean((2, 3)))
        return logits

    def export(self, network: nn.Module, stage: str, classifier: str) -> nn.Module:
        """The trained network: inputs to logits, with everything it needs copied into one module.

        Args:
            network: the student that was trained with this loss.
            stage: the module whose output this loss read, such as ``layer3``.
            classifier: the student's own classifier, such as ``fc``; it is dropped.

        Raises:
            RunError: before :meth:`build`.
            UsageError: if the network has no such module.
        """
        if self.projector is None:
            raise RunError("this SimKD has no layers yet: train it first")
        for path in (stage, classifier):
            if path not in dict(network.named_modules()):
                raise UsageError(f"SimKD: the network has no module {path!r}")
        body, loss = copy.deepcopy((network, self))
        parent, _, name = classifier.rpartition(".")
        setattr(body.get_submodule(parent), name, nn.Identity())
        return _Reused(body, stage, loss)


class _Reused(nn.Module):
    """Body of a student, projector, and the classifier of its teacher."""

    def __init__(self, body: nn.Module, stage: str, loss: SimKD):
        super().__init__()
        self.body, self.loss, self.head = body, loss, loss._head[0]
        self._seen: list[Tensor] = []
        body.get_submodule(stage).register_forward_hook(self._see)

    def _see(self, module: nn.Module, inputs: Any, output: Tensor) -> None:
        self._seen.append(output)

    def forward(self, inputs: Any) -> Tensor:
        """Logits, shape ``[N, K]``."""
        self._seen.clear()
        self.body(inputs)
        return self.loss.predict(self._seen.pop())


def _block(inputs: int, outputs: int, size: int) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False)
    return convolution, nn.BatchNorm2d(outputs), nn.ReLU()


INFO = (
    LossInfo(
        SimKD,
        reads="last_stage",
        kind="sample",
        weight=1.0,
        labels_weight=0.0,
        context=("teacher_head",),
        summary="the teacher's last map, so that its classifier can be reused",
        paper="Chen et al., CVPR 2022, arXiv 2203.14001",
    ),
)
