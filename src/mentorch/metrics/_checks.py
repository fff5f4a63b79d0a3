"""What every metric asks of its input: something to measure, and two sides that fit."""

from torch import Tensor

from mentorch._errors import RunError, UsageError


def check_batch(metric: str, logits: Tensor, labels: Tensor) -> None:
    """Logits ``[N, K]`` and integer labels ``[N]``, N > 0."""
    for what, value in {"logits": logits, "labels": labels}.items():
        if not isinstance(value, Tensor):
            raise UsageError(
                f"{metric}: needs {what} as a tensor, got {type(value).__name__}: pass metrics= that pick one"
            )
    if logits.ndim != 2 or labels.ndim != 1 or len(logits) != len(labels):
        raise UsageError(
            f"{metric}: needs logits [N, K] and labels [N], got {list(logits.shape)} and {list(labels.shape)}"
        )
    if labels.is_floating_point():
        raise UsageError(f"{metric}: needs integer labels, got {labels.dtype}")
    _check_some(metric, logits)


def check_pair(metric: str, student: Tensor, teacher: Tensor) -> None:
    """Logits of two networks, both ``[N, K]``, N > 0."""
    if student.ndim != 2 or student.shape != teacher.shape:
        raise UsageError(f"{metric}: needs logits [N, K] of both, got {list(student.shape)} and {list(teacher.shape)}")
    _check_some(metric, student)


def check_features(metric: str, features: Tensor, labels: Tensor, part: str) -> None:
    """Finite features ``[N, D]`` and integer labels ``[N]``, N > 0."""
    if features.ndim != 2 or labels.ndim != 1 or len(features) != len(labels):
        shapes = f"{list(features.shape)} and {list(labels.shape)}"
        raise UsageError(f"{metric}: {part} needs features [N, D] and labels [N], got {shapes}")
    _check_some(f"{metric}: {part}", features)
    if not features.isfinite().all():
        raise RunError(f"{metric}: features of {part} are not finite: the network has diverged")


def _check_some(what: str, x: Tensor) -> None:
    if len(x) == 0:
        raise UsageError(f"{what}: nothing to measure, got 0 samples")
