"""Correlation congruence."""

import math
from typing import Literal, Self

import torch
from torch import Tensor, nn

from mentorch._errors import RunError, UsageError, unknown
from mentorch._math import cosines, full_precision, gathered
from mentorch.losses._info import LossInfo

_VARIANTS = ("paper", "bilinear", "released")


class Correlation(nn.Module):
    r"""Difference of the correlations between the samples of a batch, in two learned spaces (correlation congruence).

    .. math:: \ell_i = \frac{1}{B} \sum_j (\kappa(e^s_i, e^s_j) - \kappa(e^t_i, e^t_j))^2, \quad
        \kappa(a, b) = e^{-2 \gamma} \sum_{p=0}^{P} \frac{(2 \gamma)^p}{p!} \langle a, b \rangle^p

    with e the embeddings after a linear layer each and of unit length; kappa is the Taylor series of the Gaussian
    kernel. Both layers learn: both sides constant is a minimum too, which other losses must keep away from. Kind
    ``row``; the released variant is of kind ``batch``.

    The released code computes something else: with ``d = |e^s - e^t|``, not normalised, the mean over b of
    ``d_b * d_{b+1}``, summed over dimensions. It depends on the order of the batch and is 0 when every second row
    matches.
    torchdistill's value of the kernel form is the root of our mean, divided by B; and it leaves embeddings as long as
    they are, where the series is no Gaussian kernel. Published: weight 0.02 of the released form on the embedding
    (CIFAR-100).

    Args:
        variant: ``paper``, ``bilinear`` (the kernel is the inner product), or ``released``.
        dim: width of the learned spaces.
        gamma: of the kernel of ``paper``.
        order: P, of the kernel of ``paper``.
        gather: whether B counts the samples of all processes in distributed training.

    Raises:
        UsageError: for an unknown variant or sizes that are not positive.

    References:
        Peng et al., "Correlation Congruence for Knowledge Distillation", ICCV 2019, arXiv 1904.01802, equations 6
            to 13.

    >>> _ = torch.manual_seed(0)
    >>> student, teacher = torch.randn(4, 8), torch.randn(4, 16)
    >>> Correlation().build(student, teacher)(student, teacher).shape
    torch.Size([4])
    """

    student: nn.Linear | None
    teacher: nn.Linear | None

    def __init__(
        self,
        *,
        variant: Literal["paper", "bilinear", "released"] = "paper",
        dim: int = 128,
        gamma: float = 0.4,
        order: int = 2,
        gather: bool = True,
    ):
        super().__init__()
        if variant not in _VARIANTS:
            raise unknown("variant of Correlation", variant, _VARIANTS)
        if dim < 1 or order < 1 or gamma <= 0:
            raise UsageError(f"Correlation: dim, order and gamma must be positive, not {dim}, {order} and {gamma}")
        self.variant, self.dim, self.gamma, self.order, self.gather = variant, dim, gamma, order, gather
        self.student, self.teacher = None, None

    def build(self, student: Tensor, teacher: Tensor, *_: Tensor) -> Self:
        """Create the two linear layers for embeddings ``[N, D]`` and ``[N, E]`` (more axes are flattened).

        Raises:
            UsageError: if it was built for other widths.
        """
        widths = student[0].numel(), teacher[0].numel()
        if self.student is not None and self.teacher is not None:
            built = self.student.in_features, self.teacher.in_features
            if widths != built:
                raise UsageError(f"this Correlation was built for widths {built}, not {widths}: make another")
            return self
        (example,) = full_precision(student)
        self.student, self.teacher = (nn.Linear(w, self.dim).to(example.device, example.dtype) for w in widths)
        return self

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """One value per anchor, shape ``[N]``; of the released variant one for the batch.

        Args:
            student: embeddings, shape ``[N, D]``.
            teacher: embeddings, shape ``[N, E]``; no gradient reaches them, only their linear layer.

        Raises:
            RunError: before :meth:`build`.
            UsageError: for one sample alone, or other batch sizes.
        """
        if self.student is None or self.teacher is None:
            raise RunError(
                "this Correlation has no layers yet: call build(student, teacher), or give the graph an example batch"
            )
        if len(student) != len(teacher):
            raise UsageError(f"Correlation: needs one batch, got {len(student)} and {len(teacher)} samples")
        student, teacher = full_precision(student.flatten(1), teacher.detach().flatten(1))
        with torch.autocast(student.device.type, enabled=False):
            pair = self.student(student), self.teacher(teacher)
        everyone = [gathered(e) for e in pair] if self.gather else pair
        if len(everyone[0]) < 2:
            raise UsageError(
                "Correlation: compares the samples of a batch, so it needs 2 or more, got 1: drop that batch"
            )
        if self.variant == "released":
            difference = (everyone[0] - everyone[1]).abs()
            return (difference[:-1] * difference[1:]).sum(1).mean()
        kernels = [self._kernel(cosines(e, all_e)) for e, all_e in zip(pair, everyone, strict=True)]
        return (kernels[0] - kernels[1]).square().mean(1)  # [N, B]

    def _kernel(self, cosine: Tensor) -> Tensor:
        if self.variant == "bilinear":
            return cosine
        rate = 2 * self.gamma
        series = [rate**p / math.factorial(p) * cosine**p for p in range(self.order + 1)]
        return math.exp(-rate) * torch.stack(series).sum(0)


INFO = (
    LossInfo(
        Correlation,
        reads="embedding",
        kind="row",
        weight=0.02,
        summary="correlations between the samples of the batch, in two learned spaces",
        paper="Peng et al., ICCV 2019, arXiv 1904.01802",
    ),
)
