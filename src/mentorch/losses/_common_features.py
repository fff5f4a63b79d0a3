"""Common feature learning, and the discrepancy of distributions that it minimises."""

from typing import Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mentorch._errors import RunError, UsageError, unknown
from mentorch._math import comparable, full_precision, gathered, products, squared_error, unit
from mentorch.losses._info import LossInfo

_RELEASED = (0.001, 0.01, 0.05, 0.1, 0.2, 1.0, 2.0)  # widths of the published kernels
_SPREAD = (0.25, 0.5, 1.0, 2.0, 4.0)  # ours, as multiples of the mean squared distance


def mmd(
    student: Tensor, teacher: Tensor, *, bandwidths: Literal["data", "released"] = "data", gather: bool = True
) -> Tensor:
    r"""Maximum mean discrepancy: how far apart two clouds of features lie, whichever sample is which.

    .. math:: MMD^2 = mean_{i \ne j} k(x_i, x_j) + mean_{i \ne j} k(y_i, y_j) - 2 \, mean_{ij} k(x_i, y_j), \quad
        k(u, w) = mean_\sigma \exp(-\|u - w\|^2 / 2 \sigma^2)

    of rows of unit length. The widths follow the data: the squares of sigma are 1/4, 1/2, 1, 2 and 4 times the mean
    squared distance between rows, which carries no gradient. Without bias, so it can be slightly negative. Kind
    ``batch``: it depends on the batch as a whole.

    ``bandwidths="released"`` is the published form: the sum of seven kernels with sigma from 0.001 to 2, with i = j
    kept. Of these the five narrow ones add nothing but the constant 10 / N, and no gradient. Published weight: 10
    (common feature learning).

    Args:
        student: features, shape ``[N, ...]``.
        teacher: features of the same width, shape ``[N, ...]``; no gradient reaches them.
        bandwidths: of the kernels: ``data`` or ``released``.
        gather: whether the clouds are those of all processes in distributed training.

    Returns:
        One value.

    Raises:
        UsageError: for one sample alone, features of other widths, or unknown bandwidths.

    References:
        Gretton et al., "A Kernel Two-Sample Test", JMLR 2012, arXiv 0805.2368, equation 3; Luo et al., IJCAI 2019,
            arXiv 1906.10546.

    >>> student, teacher = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0, 0.0], [1.0, 0.5]])
    >>> mmd(student, teacher, bandwidths="released"), mmd(student, student.flip(0), bandwidths="released")
    (tensor(2.7769), tensor(0.))
    """
    if bandwidths not in ("data", "released"):
        raise unknown("bandwidths of mmd", bandwidths, ("data", "released"))
    student, teacher = full_precision(student.flatten(1), teacher.detach().flatten(1))
    wide = torch.promote_types(student.dtype, teacher.dtype)
    student, teacher = student.to(wide), teacher.to(wide)
    return _discrepancy(student, teacher, bandwidths, gather)


def _discrepancy(x: Tensor, y: Tensor, bandwidths: str, gather: bool) -> Tensor:
    if x.shape[1] != y.shape[1]:
        raise UsageError(f"mmd: both sides need one width, got {x.shape[1]} and {y.shape[1]}: give the edge an adapter")
    if gather:
        x, y = gathered(x), gathered(y)
    if min(len(x), len(y)) < 2:
        raise UsageError("mmd: compares clouds of samples, so it needs 2 or more, got 1: drop that batch")
    x, y = unit(x), unit(y)
    xx, yy, xy = products(x, x), products(y, y), products(x, y)
    rows, others = xx.diagonal(), yy.diagonal()  # so that a row is at distance 0 from itself to the last digit
    pairs = [_squared_distances(*pair) for pair in ((rows, rows, xx), (others, others, yy), (rows, others, xy))]
    if bandwidths == "released":
        kernels = [torch.stack([(-d / (2 * s**2)).exp() for s in _RELEASED]).sum(0) for d in pairs]
        within, other, across = (kernel.mean() for kernel in kernels)
        return (within + other - 2 * across).clamp(min=0)
    sums, counts = [d.detach().sum() for d in pairs], [len(x) * (len(x) - 1), len(y) * (len(y) - 1), len(x) * len(y)]
    mean = torch.stack(sums).sum() / sum(counts)
    mean = torch.where(mean > 0, mean, 1.0)
    kernels = [torch.stack([(-d / (2 * s * mean)).exp() for s in _SPREAD]).mean(0) for d in pairs]
    within, other = ((k.sum() - k.diagonal().sum()) / n for k, n in zip(kernels[:2], counts[:2], strict=True))
    return within + other - 2 * kernels[2].mean()


def _squared_distances(x: Tensor, y: Tensor, inner: Tensor) -> Tensor:
    """Between all rows of two sets, from their squared lengths and inner products, shape ``[N, M]``."""
    return (x[:, None] + y[None, :] - 2 * inner).clamp(min=0)


class CommonFeatures(nn.Module):
    r"""A space that student and teachers share, in which the student's features follow each teacher's (CFL).

    .. math:: L = \sum_m MMD^2(g(a_S), g(a_m)) + \beta \sum_m mse(r_m, f_m), \quad r_m = dec_m(g(a_m))

    where an adapter of each network gives a, the extractor g is shared by all, and decoders keep the space informative:
    the teachers' features must be found in it again. MMD is :func:`mmd`. All of it learns; none of it is needed
    afterwards, but it is kept for pictures of the common space (:meth:`common`). Any number of teachers; maps are
    averaged down to the smallest, and where one side has vectors or tokens all become vectors. Kind ``batch``.

    Published: weight 10 on the last maps beside the soft cross-entropy of the teachers' classes, without labels.

    Args:
        variant: layers as in the authors' repository (``cfl_repo``: 256 channels, then three residual blocks of 128
            without batch norm) or in a later toolkit of the same group (``kamal``: a quarter of the student's channels,
            two residual blocks with batch norm). For vectors both have linear layers.
        bandwidths: of :func:`mmd`; the publication has ``released``.
        reconstruction: beta, the weight of the reconstruction.
        paired: weight of a further term, the mean squared difference in the common space sample by sample: mmd does not
            use that it is known which belong together. Not in the paper.
        gather: whether the clouds of mmd are those of all processes in distributed training.

    Raises:
        UsageError: for an unknown variant or bandwidths.

    References:
        Luo et al., "Knowledge Amalgamation from Heterogeneous Networks by Common Feature Learning", IJCAI 2019,
            arXiv 1906.10546.

    >>> _ = torch.manual_seed(0)
    >>> student, birds, dogs = torch.rand(4, 8, 4, 4), torch.rand(4, 16, 4, 4), torch.rand(4, 12, 2, 2)
    >>> terms = CommonFeatures().build(student, birds, dogs)(student, birds, dogs)
    >>> {name: list(term.shape) for name, term in terms.items()}
    {'mmd': [], 'reconstruction': [4]}
    """

    def __init__(
        self,
        *,
        variant: Literal["cfl_repo", "kamal"] = "cfl_repo",
        bandwidths: Literal["data", "released"] = "data",
        reconstruction: float = 1.0,
        paired: float = 0.0,
        gather: bool = True,
    ):
        super().__init__()
        if variant not in ("cfl_repo", "kamal"):
            raise unknown("variant of CommonFeatures", variant, ("cfl_repo", "kamal"))
        if bandwidths not in ("data", "released"):
            raise unknown("bandwidths of CommonFeatures", bandwidths, ("data", "released"))
        self.variant, self.bandwidths = variant, bandwidths
        self.reconstruction, self.paired, self.gather = reconstruction, paired, gather
        self.align, self.decode = nn.ModuleList(), nn.ModuleList()  # the student first, then the teachers; teachers
        self.extract: nn.Sequential | None = None
        self._shapes: list[list[int]] = []

    def build(self, student: Tensor, *teachers: Tensor) -> Self:
        """Create adapters, extractor and decoders, for maps ``[N, C, H, W]``, tokens ``[N, T, C]``, vectors ``[N, C]``.

        Raises:
            UsageError: without a teacher, or if it was built for other shapes.
        """
        features = comparable(*full_precision(student, *teachers))
        shapes = [list(x.shape[1:]) for x in features]
        if self.extract is not None:
            if shapes != self._shapes:
                raise UsageError(f"this CommonFeatures was built for {self._shapes}, not {shapes}: make another")
            return self
        if not teachers:
            raise UsageError("CommonFeatures: needs at least one teacher")
        widths = [shape[0] for shape in shapes]
        make = _vector_layers if features[0].ndim == 2 else _MAP_LAYERS[self.variant]
        narrow = 128 if self.variant == "cfl_repo" else max(1, widths[0] // 4)
        align, self.extract, decode = make(widths, narrow)
        self.align, self.decode = nn.ModuleList(align), nn.ModuleList(decode)
        self.to(features[0].device, features[0].dtype).train(self.training)
        self._shapes = shapes
        return self

    def forward(self, student: Tensor, *teachers: Tensor) -> dict[str, Tensor]:
        """``mmd``, one value; ``reconstruction`` and, if asked for, ``paired``, one per sample, shape ``[N]``.

        Args:
            student: features, shape ``[N, ...]``.
            teachers: features, shape ``[N, ...]`` each; no gradient reaches them.

        Raises:
            RunError: before :meth:`build`.
        """
        ours, *theirs = self.common(student, *teachers)
        clouds = [_discrepancy(ours.flatten(1), x.flatten(1), self.bandwidths, self.gather) for x in theirs]
        terms = {"mmd": torch.stack(clouds).sum()}
        if self.reconstruction != 0:
            _, *wanted = comparable(*full_precision(student.detach(), *(x.detach() for x in teachers)))
            with torch.autocast(student.device.type, enabled=False):
                found = [decode(x) for decode, x in zip(self.decode, theirs, strict=True)]
            errors = [squared_error(a, b) for a, b in zip(found, wanted, strict=True)]
            terms["reconstruction"] = self.reconstruction * torch.stack(errors).sum(0)
        if self.paired != 0:
            errors = [squared_error(ours, x) for x in theirs]
            terms["paired"] = self.paired * torch.stack(errors).sum(0)
        return terms

    def common(self, student: Tensor, *teachers: Tensor) -> list[Tensor]:
        """Everybody's features in the common space, the student's first, shape ``[N, H, ...]`` each.

        Raises:
            RunError: before :meth:`build`.
            UsageError: for another number of teachers.
        """
        if self.extract is None:
            raise RunError(
                "this CommonFeatures has no layers yet: call build(student, *teachers), or give the graph "
                "an example batch"
            )
        if len(teachers) != len(self.decode):
            raise UsageError(f"this CommonFeatures was built for {len(self.decode)} teachers, not {len(teachers)}")
        features = comparable(*full_precision(student, *(x.detach() for x in teachers)))
        with torch.autocast(student.device.type, enabled=False):
            return [self.extract(align(x)) for align, x in zip(self.align, features, strict=True)]


class _Residual(nn.Module):
    """Two 3x3 convolutions and the sum with the input; widths may differ."""

    def __init__(self, inputs: int, outputs: int, *, norm: bool):
        super().__init__()
        layers: list[nn.Module] = []
        for width in (inputs, outputs):
            layers += [
                nn.Conv2d(width, outputs, 3, padding=1, bias=False),
                *(nn.BatchNorm2d(outputs),) * norm,
                nn.ReLU(),
            ]
        self.layers = nn.Sequential(*layers[:-1])
        self.shortcut = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.layers(x) + self.shortcut(x))


Layers = tuple[list[nn.Module], nn.Sequential, list[nn.Module]]
"""Adapters, the shared extractor, decoders."""


def _repository(widths: list[int], narrow: int) -> Layers:
    wide = 256
    align = [nn.Sequential(nn.Conv2d(c, wide, 1, bias=False), nn.ReLU()) for c in widths]
    extract = [_Residual(inputs, narrow, norm=False) for inputs in (wide, narrow, narrow)]
    decode = [
        nn.Sequential(nn.Conv2d(narrow, c, 3, padding=1, bias=False), nn.ReLU(), nn.Conv2d(c, c, 1, bias=False))
        for c in widths[1:]
    ]
    return [*align], nn.Sequential(*extract), [*decode]


def _toolkit(widths: list[int], narrow: int) -> Layers:
    def block(inputs: int) -> list[nn.Module]:
        return [nn.Conv2d(inputs, narrow, 1, bias=False), nn.BatchNorm2d(narrow), nn.ReLU()]

    extract = [_Residual(narrow, narrow, norm=True) for _ in range(2)]
    decode = [nn.Sequential(*block(narrow), nn.Conv2d(narrow, c, 1)) for c in widths[1:]]
    return [nn.Sequential(*block(c)) for c in widths], nn.Sequential(*extract), [*decode]


def _vector_layers(widths: list[int], narrow: int) -> Layers:
    align = [nn.Sequential(nn.Linear(c, narrow), nn.ReLU()) for c in widths]
    extract = nn.Sequential(nn.Linear(narrow, narrow), nn.ReLU(), nn.Linear(narrow, narrow))
    decode = [nn.Sequential(nn.Linear(narrow, c), nn.ReLU(), nn.Linear(c, c)) for c in widths[1:]]
    return [*align], extract, [*decode]


_MAP_LAYERS = {"cfl_repo": _repository, "kamal": _toolkit}

INFO = (
    LossInfo(
        CommonFeatures,
        reads="last_stage",
        kind="batch",
        weight=10.0,
        name="common_features",
        summary="a space shared with any number of teachers, in which features are alike",
        paper="Luo et al., IJCAI 2019, arXiv 1906.10546",
    ),
    LossInfo(
        mmd,
        reads="embedding",
        kind="batch",
        weight=10.0,
        adapter=True,
        summary="distance of two clouds of features, whichever sample is which",
        paper="Gretton et al., JMLR 2012, arXiv 0805.2368",
    ),
)
