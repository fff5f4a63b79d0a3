"""Logit standardisation, for any loss on logits."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from mentorch._errors import UsageError
from mentorch._math import full_precision, z_score
from mentorch.losses._info import describe, layers

Loss = Callable[..., Tensor | Mapping[str, Tensor]]


def standardized(loss: Loss) -> Loss:
    r"""A loss on logits that compares their z-scores, so that only their shape is taught and not their scale.

    .. math:: \tilde z_b = (z_b - mean_c z_b) / std_c z_b, \quad \ell = loss(\tilde z, \tilde v, ...)

    Student and teachers are standardised row by row (divisor K - 1); integers, that is labels and index, pass. A
    constant row becomes zero and gets no gradient. The kind is the loss's own. Published: ``kd`` at T = 2 with weight 9
    beside 0.1 on the labels' cross-entropy; for ``dkd`` the weight 9 beside 1 (CIFAR-100). The authors tuned T in
    2 to 4 and the weight in 1 to 18 by pair.

    Args:
        loss: ``loss(student, *sources)`` on logits ``[N, K]`` or ``[N, K, H, W]``, with its options bound by
            ``functools.partial``.

    Raises:
        UsageError: for a loss that owns weights: what it reads are not logits alone.

    References:
        Sun et al., "Logit Standardization in Knowledge Distillation", CVPR 2024, arXiv 2403.01427,
            algorithm 1.

    >>> import torch
    >>> from functools import partial
    >>> from mentorch.losses import kd
    >>> loss = standardized(partial(kd, temperature=2.0))
    >>> loss
    standardized(partial(kd, temperature=2.0))
    >>> loss(torch.tensor([[0.0, 0.0, 0.5]]), torch.tensor([[10.0, 10.0, 12.0]]))  # they differ by scale and shift
    tensor([0.])
    """
    if isinstance(layers(loss)[-1], nn.Module | type):
        raise UsageError(f"standardized: wraps losses on logits without weights, not {describe(loss)}")
    return _Standardized(loss)


@dataclass(frozen=True, repr=False)
class _Standardized:
    __wrapped__: Loss
    published_weights: ClassVar = {"kd": 9.0, "dkd": 9.0}  # published, instead of the loss's own

    @property
    def __name__(self) -> str:
        return f"standardized({layers(self)[-1].__name__})"

    def __call__(self, student: Tensor, *sources: Tensor) -> Tensor | Mapping[str, Tensor]:
        return self.__wrapped__(
            *(z_score(t) if t.is_floating_point() else t for t in full_precision(student, *sources))
        )

    def __repr__(self) -> str:
        return f"standardized({describe(self.__wrapped__)})"
