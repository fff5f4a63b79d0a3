"""One-for-all distillation, across architectures."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mentorch._errors import UsageError
from mentorch._math import same_shape
from mentorch.losses._info import LossInfo
from mentorch.losses._trainable import TrainableLoss


class OFA(TrainableLoss):
    r"""Every stage of the student, through a head of its own, and its output learn the teacher's classes (one-for-all).

    .. math:: \ell_b = -\sum_c w_{bc} \log q_{bc}, \quad w_{bc} = p_{bc}^\epsilon \; (c \ne y_b), \quad
        w_{by} = (1 + p_{by})^\epsilon - 1

    with probabilities at T. Only logits are compared, so that a convolutional network and a transformer can teach each
    other. Not zero at equality. At exponent 1 it is the cross-entropy with the teacher's probabilities. Kind
    ``sample`` (with the heads in evaluation mode; in training their batch norm sees the batch). Published: all terms
    with weight 1 beside 1 on the cross-entropy, T = 1; exponent 1 (CIFAR-100), 1.5 (ImageNet, ResNet-18 from DeiT-T).

    Heads: stage i of L goes through L - i separable convolutions that halve the map and double the channels (the
    last one to the width of the student's deepest stage), stage L through one 1x1 convolution; then the mean over
    positions and a linear layer. Tokens ``[N, L, C]`` go through max(L - i, 1) transformer blocks instead, without the
    authors' patch merging; vectors through the linear layer alone. Heads are for training only.

    Called as ``loss((stage_1, ..., stage_L, logits), teacher, labels)``, or with the student's logits alone; gives the
    terms ``logits``, ``stage 1``, ..., each one value per sample, at least 0, shape ``[N]``.

    Args:
        exponent: epsilon >= 1; larger ones stress the true class.
        temperature: T > 0 of the softmax on both sides; no T squared, as released.

    Raises:
        UsageError: for an exponent below 1 or a temperature that is not positive; when built, for other classes
            on the two sides, or stages that are neither maps, tokens nor vectors; when called, for soft labels.

    References:
        Hao et al., "One-for-All: Bridge the Gap Between Heterogeneous Architectures in Knowledge Distillation",
            NeurIPS 2023, arXiv 2310.19444.

    >>> student, teacher = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[2.0, 0.0, 1.0]])
    >>> labels = torch.tensor([2])
    >>> OFA().build(student, teacher, labels)(student, teacher, labels)
    {'logits': tensor([1.8281])}
    """

    heads: nn.ModuleList

    def __init__(self, *, exponent: float = 1.0, temperature: float = 1.0):
        super().__init__()
        if exponent < 1:
            raise UsageError(f"OFA: the exponent must be at least 1, not {exponent}")
        if temperature <= 0:
            raise UsageError(f"OFA: the temperature must be positive, not {temperature}")
        self.exponent = exponent
        self.temperature = temperature

    def _make(self, student: Tensor | tuple[Tensor, ...], teacher: Tensor, labels: Tensor) -> None:
        *stages, logits = _tuple(student)
        same_shape("OFA", logits, teacher, "both need the same classes")
        deepest = _channels(stages[-1]) if stages else 0
        heads = (_head(stage, len(stages) - 1 - i, deepest, logits.shape[1]) for i, stage in enumerate(stages))
        self.heads = nn.ModuleList(heads)

    def _compare(self, student: Tensor | tuple[Tensor, ...], teacher: Tensor, labels: Tensor) -> dict[str, Tensor]:
        if labels.is_floating_point():
            raise UsageError(f"OFA: needs integer labels, got {labels.dtype}: soft labels have no true class")
        *stages, logits = _tuple(student)
        p = (teacher / self.temperature).softmax(1)
        true = torch.zeros_like(p, dtype=torch.bool).scatter(1, labels.long().unsqueeze(1), True)  # [N, K]
        weights = torch.where(true, (1 + p) ** self.exponent - 1, p**self.exponent)
        voices = {"logits": logits}
        for i, (head, stage) in enumerate(zip(self.heads, stages, strict=True), start=1):
            voices[f"stage {i}"] = head(stage)
        return {n: -(weights * F.log_softmax(z / self.temperature, dim=1)).sum(1) for n, z in voices.items()}


class _Mean(nn.Module):
    """Mean over the positions of a map ``[N, C, H, W]`` or of tokens ``[N, L, C]``."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3)) if x.ndim == 4 else x.mean(1)


def _tuple(student: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (student,) if isinstance(student, Tensor) else student


def _channels(stage: Tensor) -> int:
    return stage.shape[2] if stage.ndim == 3 else stage.shape[1]


def _head(stage: Tensor, below: int, width: int, classes: int) -> nn.Sequential:
    """From a stage with ``below`` deeper ones to class logits."""
    channels = _channels(stage)
    if stage.ndim == 2:
        return nn.Sequential(nn.Linear(channels, classes))
    if stage.ndim == 3:
        heads = 4 if channels % 4 == 0 else 1
        blocks = [_block(channels, heads) for _ in range(max(below, 1))]
        return nn.Sequential(*blocks, _Mean(), nn.Linear(channels, classes))
    if stage.ndim != 4:
        raise UsageError(f"OFA: a stage is a map, tokens or a vector, not {list(stage.shape)}: tap another layer")
    layers: list[nn.Module] = []
    for i in range(below):
        wider = width if i == below - 1 else 2 * channels
        layers += [*_separable(channels, wider)]
        channels = wider
    if not below:
        layers += [nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    return nn.Sequential(*layers, _Mean(), nn.Linear(width, classes))


def _separable(channels: int, wider: int) -> list[nn.Module]:
    """A 3x3 convolution of each channel, which halves the map, and one across the channels."""
    return [
        nn.Conv2d(channels, channels, 3, stride=2, padding=1, groups=channels, bias=False),
        nn.Conv2d(channels, wider, 1, bias=False),
        nn.BatchNorm2d(wider),
        nn.ReLU(),
    ]


def _block(width: int, heads: int) -> nn.Module:
    return nn.TransformerEncoderLayer(width, heads, 2 * width, dropout=0.0, batch_first=True, norm_first=True)


INFO = (
    LossInfo(
        OFA,
        reads="stages_logits",
        kind="sample",
        labels=True,
        weight=1.0,
        summary="the teacher's classes, learned by every stage through a head; across architectures",
        paper="Hao et al., NeurIPS 2023, arXiv 2310.19444",
    ),
)
