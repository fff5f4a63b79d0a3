"""Activation boundaries."""

import torch
import torch.nn.functional as F
from torch import Tensor

from mentorch._errors import UsageError
from mentorch._math import full_precision, same_shape
from mentorch.losses._info import LossInfo


def ab(student: Tensor, teacher: Tensor, *, margin: float = 1.0) -> Tensor:
    r"""How far the student's neurons are from firing where the teacher's fire, and only there (activation boundaries).

    .. math:: \ell_b = \sum_{chw} \max(0, m - r(F_t) F_s)^2, \quad r(t) = 1 \text{ if } t > 0 \text{ else } -1

    Reads maps before their activation, the student's after an adapter that ends without one:
    ``Regressor(relu=False)``. Of the teacher only the sign counts, so its map after a ReLU serves as well. Kind
    ``sample``. Several stages are several edges.

    Published: initialisation for 30 epochs with this alone, then the cross-entropy alone. The released code multiplies
    by 3/1000 (our weight), and stage l of L by 2^(l - L): the deepest stage 0.003, the one before it 0.0015, and so on.
    torchdistill's loss is the mean of this one, with weights of its own.

    Args:
        student: map after the adapter, shape ``[N, C, H, W]`` (any shape that starts with N).
        teacher: map, same shape; no gradient reaches it.
        margin: m >= 0, how far beyond the boundary is far enough.

    Returns:
        One value per sample, at least 0, shape ``[N]``.

    Raises:
        UsageError: if the shapes differ, or for a negative margin.

    References:
        Heo et al., "Knowledge Transfer via Distillation of Activation Boundaries Formed by Hidden Neurons", AAAI 2019,
            arXiv 1811.03233 (the alternative loss that has gradients).

    >>> ab(torch.tensor([[0.5, -2.0, 3.0]]), torch.tensor([[7.0, -7.0, 0.0]]))  # 0.5^2 + 0 + 4^2
    tensor([16.2500])
    """
    if margin < 0:
        raise UsageError(f"ab: the margin must be at least 0, not {margin}")
    same_shape("ab", student, teacher, "give the edge an adapter, such as mentorch.losses.Regressor(relu=False)")
    student, teacher = full_precision(student, teacher.detach())
    now = student.detach()
    goal = torch.where(teacher > 0, now.clamp(min=margin), now.clamp(max=-margin))  # itself, where that is far enough
    return F.mse_loss(student, goal, reduction="none").flatten(1).sum(1)


INFO = (
    LossInfo(
        ab,
        reads="stages",
        kind="sample",
        adapter=True,
        preact=True,
        weight=3 / 1000,
        stage_factor=0.5,
        summary="which neurons of each stage fire; meant as an initialisation",
        paper="Heo et al., AAAI 2019, arXiv 1811.03233",
    ),
)
