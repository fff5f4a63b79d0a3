"""Factor transfer."""

from collections.abc import Callable, Iterable, Iterator
from typing import Literal

import torch
from torch import Tensor, nn

from mentorch._errors import RunError, UsageError, unknown
from mentorch._math import align, full_precision, relative, squared_error, unit
from mentorch.losses._info import LossInfo
from mentorch.losses._trainable import TrainableLoss


class Factor(TrainableLoss):
    r"""Difference of what two small networks make of the student's and the teacher's map (factor transfer).

    A paraphraser, an autoencoder with half the channels inside, turns the teacher's last map into its factor; a
    translator of the same shape turns the student's map into another.

    .. math:: \ell_b = mean |g(f_s) - g(f_t)|^p, \quad g(f) = unit(mean_c f^2) \text{ over the cells (released)}
        \quad \text{or} \quad unit(f) \text{ (paper)}

    The larger map is averaged down to the smaller one first. Kind ``sample``, up to the translator's batch norm while
    it trains. Published: last stage, weight 200 with the released form (CIFAR-100), which both terms below share.

    The paraphraser learns to reconstruct the teacher's map; the factor term never reaches it. There are two ways:

    * published: it is trained first and then kept. ``Factor(reconstruction=0.0)``, then :meth:`pretrain` on the
      teacher's maps, then the graph. The loss is one value per sample.
    * in one run, without another stage (the default): a second term, ``reconstruction``, trains it alongside. Its
      target moves during the first epochs, which the paper avoids. The loss is then two named terms.

    Args:
        variant: ``released`` (RepDistiller) or ``paper`` (as in torchdistill).
        power: p >= 1 of the difference; torchdistill's value for p > 1 is the p-th root of the sum, not the mean.
        ratio: channels of the factor per channel of the teacher.
        reconstruction: weight of the mean squared error of the reconstruction relative to the factor term; 0.005
            makes it 1 beside the published 200. 0 leaves the paraphraser as :meth:`pretrain` made it.

    Call with ``student``, shape ``[N, C, H, W]``, and ``teacher``, shape ``[N, D, I, J]``; returns ``{"factor": [N],
    "reconstruction": [N]}``, or the first alone.

    Raises:
        UsageError: for an unknown variant or an option out of range; when built, for features that are not maps.
        RunError: when built with ``reconstruction=0`` and without :meth:`pretrain`.

    References:
        Kim, Park, Kwak, "Paraphrasing Complex Network: Network Compression via Factor Transfer", NeurIPS 2018,
            arXiv 1802.04977.

    >>> student, teacher = torch.randn(2, 4, 8, 8), torch.randn(2, 6, 4, 4)
    >>> {name: list(term.shape) for name, term in Factor().build(student, teacher)(student, teacher).items()}
    {'factor': [2], 'reconstruction': [2]}
    """

    def __init__(
        self,
        *,
        variant: Literal["released", "paper"] = "released",
        power: float = 1.0,
        ratio: float = 0.5,
        reconstruction: float = 0.005,
    ):
        super().__init__()
        if variant not in ("released", "paper"):
            raise unknown("variant of Factor", variant, ("released", "paper"))
        if power < 1 or ratio <= 0 or reconstruction < 0:
            raise UsageError(
                f"Factor: needs power >= 1, ratio > 0 and reconstruction >= 0, "
                f"not {power}, {ratio} and {reconstruction}"
            )
        self.variant, self.power, self.ratio, self.reconstruction = variant, power, ratio, reconstruction
        self.paraphraser: nn.ModuleDict | None = None

    def pretrain(
        self, maps: Iterable[Tensor], *, optimizer: Callable[[Iterator[nn.Parameter]], torch.optim.Optimizer]
    ) -> Tensor:
        """Train the paraphraser to reconstruct the teacher's maps, one step for each.

        Published: 30 epochs of SGD with the settings of the main run, but a learning rate of 0.01 for CIFAR ResNets.

        >>> teacher = torch.randn(8, 6, 4, 4)
        >>> loss = Factor(reconstruction=0.0)
        >>> errors = loss.pretrain([teacher] * 20, optimizer=lambda weights: torch.optim.SGD(weights, lr=0.1))
        >>> bool(errors[-1] < errors[0])
        True

        Args:
            maps: batches of the teacher's last map, shape ``[N, D, I, J]``: as many as there are to be steps.
            optimizer: makes the optimiser from the paraphraser's parameters, ``functools.partial(SGD, lr=0.01)``.

        Returns:
            Mean squared error before each step, shape ``[steps]``.

        Raises:
            UsageError: without a single map.
        """
        errors: list[Tensor] = []
        steps: torch.optim.Optimizer | None = None
        for batch in maps:
            (teacher,) = full_precision(batch.detach())
            if self.paraphraser is None:
                self.paraphraser = _paraphraser(teacher.shape[1], self._width(teacher)).to(
                    teacher.device, teacher.dtype
                )
            if steps is None:
                self.paraphraser.requires_grad_(True)
                steps = optimizer(self.paraphraser.parameters())
            with torch.enable_grad():
                error = _error(self.paraphraser["decoder"](self.paraphraser["encoder"](teacher)), teacher).mean()
                steps.zero_grad()
                error.backward()  # type: ignore[no-untyped-call]
            steps.step()
            errors.append(error.detach())
        if self.paraphraser is None or not errors:
            raise UsageError("Factor: pretrain needs at least one batch of the teacher's maps")
        self.paraphraser.zero_grad()
        self.paraphraser.requires_grad_(self.reconstruction > 0)
        return torch.stack(errors)

    def _make(self, student: Tensor, teacher: Tensor) -> None:
        if student.ndim != 4 or teacher.ndim != 4:
            raise UsageError(f"Factor: needs maps [N, C, H, W], got {list(student.shape)} and {list(teacher.shape)}")
        if self.paraphraser is None:
            if self.reconstruction == 0:
                raise RunError(
                    "Factor: reconstruction=0 keeps the paraphraser as it is, and nothing trained it: call pretrain "
                    "on the teacher's maps before the graph is made"
                )
            self.paraphraser = _paraphraser(teacher.shape[1], self._width(teacher))
        self.translator = _encoder(student.shape[1], self._width(teacher), norm=True)

    def _width(self, teacher: Tensor) -> int:
        return max(1, int(teacher.shape[1] * self.ratio))

    def _compare(self, student: Tensor, teacher: Tensor) -> Tensor | dict[str, Tensor]:
        assert self.paraphraser is not None
        factor = self.paraphraser["encoder"](teacher)
        value = compare(self.translator(student), factor.detach(), self.variant, self.power)
        if self.reconstruction == 0:
            return value
        error = _error(self.paraphraser["decoder"](factor), teacher)
        return {"factor": value, "reconstruction": self.reconstruction * error}


def compare(student: Tensor, teacher: Tensor, variant: str, power: float) -> Tensor:
    """Difference of two factors, shape ``[N]``."""
    difference = _direction(student, teacher, variant)
    return difference.abs().pow(power).mean(1)


def _direction(student: Tensor, teacher: Tensor, variant: str) -> Tensor:
    """Difference of the two unit vectors, shape ``[N, C H W]`` or ``[N, H W]``."""
    units = []
    for factor in align(student, teacher):
        units.append(unit(relative((factor.square().mean(1) if variant == "released" else factor).flatten(1))))
    return units[0] - units[1]


def _error(reconstruction: Tensor, teacher: Tensor) -> Tensor:
    return squared_error(reconstruction, teacher)


def _paraphraser(channels: int, width: int) -> nn.ModuleDict:
    steps: list[nn.Module] = []
    for c, d in ((width, width), (width, channels), (channels, channels)):
        steps += [nn.ConvTranspose2d(c, d, 3, padding=1), nn.LeakyReLU(0.1)]
    return nn.ModuleDict({"encoder": _encoder(channels, width, norm=False), "decoder": nn.Sequential(*steps)})


def _encoder(channels: int, width: int, *, norm: bool) -> nn.Sequential:
    steps: list[nn.Module] = []
    for c, d in ((channels, channels), (channels, width), (width, width)):
        steps.append(nn.Conv2d(c, d, 3, padding=1, bias=not norm))  # a bias would vanish in the batch norm
        steps += [*([nn.BatchNorm2d(d)] if norm else []), nn.LeakyReLU(0.1)]
    return nn.Sequential(*steps)


INFO = (
    LossInfo(
        Factor,
        reads="last_stage",
        kind="sample",
        weight=200.0,
        summary="what a paraphraser makes of the teacher's last map and a translator of the student's",
        paper="Kim, Park, Kwak, NeurIPS 2018, arXiv 1802.04977",
    ),
)
