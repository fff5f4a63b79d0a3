"""Self-distillation: a network whose output teaches its own early stages."""

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from mentorch._edge import Edge
from mentorch._errors import UsageError
from mentorch._graph import Graph, View
from mentorch.losses import cross_entropy, kd
from mentorch.losses._maps import as_map
from mentorch.losses._trainable import TrainableLoss
from mentorch.networks import Taps, taps


def self_distill(
    student: nn.Module,
    *,
    alpha: float = 0.1,
    temperature: float = 3.0,
    features: float = 1.28e-4,
    places: Taps | None = None,
    view: View | None = None,
    example: Sequence[Any] | None = None,
) -> Graph:
    r"""A network that is its own teacher: its output and its embedding teach a head on each earlier stage (BYOT).

    .. math:: L = (1 - \alpha) \, CE(z, y) + \sum_i (1 - \alpha) \, CE(z^i, y) + \alpha \, KD_T(z^i, z)
        + \lambda \|f^i - f\|^2

    with z^i and f^i logits and features of the head on stage i of all but the last; nothing flows back through z and f
    here. Heads have the layers of the released code: convolutions 1x1, k x k with stride k = 2 for each stage that
    follows, and 1x1 up to the width of the embedding, with batch norm and ReLU each; mean over positions; a linear
    layer. They are for training only: what remains is the plain network. Tokens count as a map. One network, so no
    teacher has to be trained, and a step costs little more than a supervised one.

    Published in that code: alpha 0.1, T = 3, and 1e-6 on the squares summed over a batch of 128, which is our 1.28e-4
    on the mean over samples (ResNets on CIFAR-100).

    >>> from mentorch import networks
    >>> self_distill(networks.cnn_tiny())
    Graph
      student  learning  CNN, 510 parameters
      labels -> student: cross_entropy  x 0.9
      student, student.fc:in, labels -> student.layer1: Head  x 1

    Args:
        student: learns, under the name ``student``.
        alpha: share of its own output against the labels, in [0, 1].
        temperature: T.
        features: lambda.
        places: where its stages are, if it does not say so itself.
        view: what it sees of the inputs.
        example: see :class:`mentorch.Graph`; needed before making an optimiser.

    Raises:
        UsageError: for an alpha outside [0, 1], and for a network of fewer than two stages.

    References:
        Zhang et al., "Be Your Own Teacher: Improve the Performance of Convolutional Neural Networks via Self
            Distillation", ICCV 2019, arXiv 1905.08094.
    """
    if not 0 <= alpha <= 1:
        raise UsageError(f"self_distill: alpha is a share between 0 and 1, not {alpha}")
    own = places or taps(student)
    if len(own.stages) < 2:
        raise UsageError(f"self_distill teaches stages before the last, and there are {len(own.stages)}: pass places=")
    *early, _ = own.stages
    edges = [Edge("labels", "student", cross_entropy, 1 - alpha)] if alpha < 1 else []
    for i, stage in enumerate(early):
        head = Head(2 ** (len(early) - i), alpha=alpha, temperature=temperature, features=features)
        edges.append(Edge(("student", f"student.{own.embedding}", "labels"), f"student.{stage}", head))
    return Graph({"student": student}, edges, views={} if view is None else {"student": view}, example=example)


class Head(TrainableLoss):
    """What :func:`self_distill` puts on a stage; called as ``loss(stage, logits, embedding, labels)``.

    Args:
        shrink: how much smaller the last stage's map is.
        alpha: of :func:`self_distill`, like the others.
        temperature: T.
        features: lambda.
    """

    def __init__(self, shrink: int, *, alpha: float, temperature: float, features: float):
        super().__init__()
        self.shrink, self.alpha, self.temperature, self.features = shrink, alpha, temperature, features

    def _make(self, stage: Tensor, logits: Tensor, embedding: Tensor, labels: Tensor) -> None:
        stage = _map(stage)
        width, size = embedding.shape[1], (min(self.shrink, stage.shape[2]), min(self.shrink, stage.shape[3]))
        middle = max(1, width // 4)
        self.bottleneck = nn.Sequential(
            *_layer(nn.Conv2d(stage.shape[1], middle, 1, bias=False)),
            *_layer(nn.Conv2d(middle, middle, size, stride=size, bias=False)),
            *_layer(nn.Conv2d(middle, width, 1, bias=False)),
        )
        for module in self.bottleneck:
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        self.classifier = nn.Linear(width, logits.shape[1])

    def _compare(self, stage: Tensor, logits: Tensor, embedding: Tensor, labels: Tensor) -> dict[str, Tensor]:
        found = self.bottleneck(_map(stage)).mean((2, 3))  # [N, D]
        own = self.classifier(found)
        return {
            "labels": (1 - self.alpha) * cross_entropy(own, labels),
            "output": self.alpha * kd(own, logits, temperature=self.temperature),
            "features": self.features * F.mse_loss(found, embedding, reduction="none").sum(1),
        }


def _map(stage: Tensor) -> Tensor:
    if stage.ndim == 2:
        return stage[:, :, None, None]
    return as_map(stage) if stage.ndim == 3 else stage


def _layer(convolution: nn.Conv2d) -> tuple[nn.Module, ...]:
    return convolution, nn.BatchNorm2d(convolution.out_channels), nn.ReLU()
