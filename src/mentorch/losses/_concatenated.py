"""Soft targets of several teachers, each with classes of its own."""

import itertools
from collections.abc import Sequence
from typing import Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mentorch._errors import RunError, UsageError, unknown
from mentorch._math import full_precision, squared_error, z_score
from mentorch.losses._info import LossInfo

Target = Literal["joint", "standardized", "confidence", "energy", "per_teacher", "mse"]
_TARGETS = ("joint", "standardized", "confidence", "energy", "per_teacher", "mse")
_UNKNOWN = (
    "this Concatenated does not know the teachers' classes yet: pass blocks=, call build(student, *teachers), or give "
    "the graph an example batch"
)


class Concatenated(nn.Module):
    r"""Divergence of the student's joint classes from what all teachers say together (amalgamation).

    .. math:: u = [v^1 / \tau_1 ; \ldots ; v^M / \tau_M], \quad
        \ell_b = T^2 \, KL(softmax(u / T) \,\|\, softmax(z / T))

    One softmax over all classes, for every image, whatever its origin: the scales of the teachers' logits then decide
    who is believed, which is what the other targets and the temperatures tau are about. A class that several teachers
    know has the mean of their logits, or the sum of their weighted probabilities. Without labels. Kind ``sample``.
    Published: T = 1, weight 1, as cross-entropy, which differs by a constant.

    Args:
        blocks: for each teacher, for each of its classes the student's, -1 for one that the student has not
            (see :class:`mentorch.data.LabelSpace`); one after the other where nothing is said.
        target: ``joint``, the above; ``standardized``, of each teacher's z-scores, which have one scale;
            ``confidence`` or ``energy``, a mixture of the teachers' own softmaxes, weighted by their largest
            probability or by the softmax over teachers of logsumexp(v / tau); ``per_teacher``, the sum of one
            divergence per teacher, each within its classes, so that nothing is taught across tasks; ``mse``, the mean
            squared difference of z and u. At T = 1 ``energy`` is ``joint`` where no class has two owners.
        temperature: T > 0, of both sides; ``mse`` has none.
        calibration: tau of each teacher, found by :func:`mentorch.methods.calibrate`, say; 1 where nothing is said.

    Raises:
        UsageError: for an unknown target, a temperature that is not positive, or impossible blocks.

    References:
        Luo et al., "Knowledge Amalgamation from Heterogeneous Networks by Common Feature Learning", IJCAI 2019,
            arXiv 1906.10546, soft targets; energy: Liu et al., NeurIPS 2020, arXiv 2010.03759, equation 4.

    >>> birds, dogs = torch.tensor([[4.0, 0.0]]), torch.tensor([[1.0, 0.0, 0.0]])
    >>> student = torch.tensor([[4.0, 0.0, 1.0, 0.0, 1.0]])
    >>> loss = Concatenated().build(student, birds, dogs)
    >>> loss(student, birds, dogs)
    tensor([0.0115])
    >>> loss.log_target(birds, dogs).exp()  # who says it louder is believed
    tensor([[0.9052, 0.0166, 0.0451, 0.0166, 0.0166]])
    """

    def __init__(
        self,
        *,
        blocks: Sequence[Sequence[int]] | None = None,
        target: Target = "joint",
        temperature: float = 1.0,
        calibration: Sequence[float] | None = None,
    ):
        super().__init__()
        if target not in _TARGETS:
            raise unknown("target of Concatenated", target, _TARGETS)
        if not all(t > 0 for t in (temperature, *(calibration or ()))):
            raise UsageError(f"Concatenated: temperatures must be positive, not {temperature} and {calibration}")
        self.target, self.temperature = target, temperature
        self.calibration = None if calibration is None else tuple(calibration)
        self.widths: tuple[int, ...] = ()  # classes of each teacher
        self.classes = 0  # of the student
        self._names: list[tuple[str | None, str]] = []  # buffers with each teacher's columns: its own, the student's
        self._in_place = False  # whether the teachers' columns are the student's already
        if blocks is not None:
            self._arrange([tuple(block) for block in blocks])

    def _arrange(self, blocks: list[tuple[int, ...]]) -> None:
        """From each teacher's classes to the columns of their concatenation that each class of the student reads."""
        kept = [k for block in blocks for k in block if k >= 0]
        self.classes = max(kept, default=-1) + 1
        owners: list[list[int]] = [[] for _ in range(self.classes)]
        for column, k in enumerate(kept):
            owners[k].append(column)
        if orphans := [k for k, columns in enumerate(owners) if not columns]:
            raise UsageError(f"Concatenated: class {orphans[0]} of the student is known by no teacher: {blocks}")
        if any(len({k for k in block if k >= 0}) < sum(k >= 0 for k in block) for block in blocks):
            raise UsageError(f"Concatenated: a teacher has two classes that are one of the student: {blocks}")
        if idle := [m for m, block in enumerate(blocks) if max(block, default=-1) < 0]:
            raise UsageError(f"Concatenated: teacher {idle[0]} knows no class of the student: leave it out")
        self.widths = tuple(map(len, blocks))
        for m, block in enumerate(blocks):  # columns that are in place already need no index
            own = [i for i, k in enumerate(block) if k >= 0]
            whole = len(own) == len(block)
            if not whole:
                self.register_buffer(f"own{m}", torch.tensor(own))
            self.register_buffer(f"block{m}", torch.tensor([k for k in block if k >= 0]))
            self._names.append((None if whole else f"own{m}", f"block{m}"))
        most = max(map(len, owners))
        padded = [columns + [len(kept)] * (most - len(columns)) for columns in owners]
        self._in_place = padded == [[column] for column in range(len(kept))]
        self.register_buffer("_columns", torch.tensor(padded))  # [K, owners]
        self.register_buffer("_owners", torch.tensor(list(map(len, owners))))  # [K]

    def build(self, student: Tensor, *teachers: Tensor) -> Self:
        """Check that logits ``[N, K]`` of the student and ``[N, K_m]`` of the teachers are those of the blocks.

        Raises:
            UsageError: without a teacher, or for other numbers of teachers or classes.
        """
        if not teachers:
            raise UsageError("Concatenated: needs at least one teacher")
        if not self.widths:
            ends = itertools.accumulate((t.shape[1] for t in teachers), initial=0)
            self._arrange([tuple(range(a, b)) for a, b in itertools.pairwise(ends)])
            self.to(student.device)
        self._check(teachers)
        if student.ndim != 2 or student.shape[1] != self.classes:
            raise UsageError(
                f"Concatenated is built for {self.classes} classes, which the teachers know together; the student "
                f"shows {list(student.shape)}: give it a head of {self.classes}"
            )
        if self.calibration is not None and len(self.calibration) != len(teachers):
            raise UsageError(f"Concatenated: {len(self.calibration)} calibrations for {len(teachers)} teachers")
        return self

    def forward(self, student: Tensor, *teachers: Tensor) -> Tensor:
        """One value per sample, at least 0, shape ``[N]``.

        Args:
            student: logits, shape ``[N, K]``.
            teachers: logits, shape ``[N, K_m]`` each; no gradient reaches them.

        Raises:
            RunError: before :meth:`build`, where no blocks were given.
        """
        (student,) = full_precision(student)
        t = self.temperature
        if self.target == "mse":
            return squared_error(student, self._mean(self._logits(teachers)))
        if self.target == "per_teacher":
            own = [student.index_select(1, getattr(self, block)) for _, block in self._names]
            pairs = zip(own, self._logits(teachers), strict=True)
            each = [_divergence(F.log_softmax(v / t, 1), F.log_softmax(z / t, 1)) for z, v in pairs]
            return t**2 * torch.stack(each).sum(0)
        return t**2 * _divergence(self.log_target(*teachers), F.log_softmax(student / t, 1))

    def classes_of(self, teacher: int) -> Tensor:
        """For each class of a teacher (by position) the student's, -1 for one that the student has not.

        Raises:
            RunError: before :meth:`build`, where no blocks were given.
        """
        if not self.widths:
            raise RunError(_UNKNOWN)
        own, block = self._names[teacher]
        columns = self.get_buffer(block)
        return (
            columns
            if own is None
            else columns.new_full((self.widths[teacher],), -1).index_copy(0, self.get_buffer(own), columns)
        )

    def log_target(self, *teachers: Tensor) -> Tensor:
        """What the teachers say together: log-probabilities of the joint classes, shape ``[N, K]``.

        Of ``per_teacher`` and ``mse``, which compare with no distribution, that of ``joint``.

        Args:
            teachers: logits, shape ``[N, K_m]`` each.

        Raises:
            RunError: as :meth:`forward`.
        """
        logits, t = self._logits(teachers), self.temperature
        if self.target not in ("confidence", "energy"):
            return F.log_softmax(self._mean(logits) / t, 1)
        if self.target == "energy":
            trust = torch.stack([v.logsumexp(1) for v in logits], 1)  # [N, M]
        else:
            trust = torch.stack([F.log_softmax(v, 1).amax(1) for v in logits], 1)
        weights = F.log_softmax(trust, 1).unbind(1)
        mixed = torch.cat([F.log_softmax(v / t, 1) + w[:, None] for v, w in zip(logits, weights, strict=True)], 1)
        return mixed if self._in_place else self._gathered(mixed, -torch.inf).logsumexp(2)

    def _logits(self, teachers: Sequence[Tensor]) -> list[Tensor]:
        """Each teacher's logits of classes that the student has, calibrated."""
        self._check(teachers)
        logits = list(full_precision(*(t.detach() for t in teachers)))
        for m, (own, _) in enumerate(self._names):
            if own is not None:
                logits[m] = logits[m].index_select(1, getattr(self, own))
        if self.target == "standardized":
            return [z_score(v) for v in logits]  # whatever their calibration
        return logits if self.calibration is None else [v / t for v, t in zip(logits, self.calibration, strict=True)]

    def _mean(self, logits: Sequence[Tensor]) -> Tensor:
        """The logits u, shape ``[N, K]``."""
        u = torch.cat(list(logits), 1)
        return u if self._in_place else self._gathered(u, 0.0).sum(2) / self.get_buffer("_owners")

    def _gathered(self, columns: Tensor, missing: float) -> Tensor:
        """For each class of the student what its owners say, shape ``[N, K, owners]``, filled up with ``missing``."""
        table = self.get_buffer("_columns")
        filled = F.pad(columns, (0, 1), value=missing)
        return filled.index_select(1, table.flatten()).view(len(columns), *table.shape)

    def _check(self, teachers: Sequence[Tensor]) -> None:
        if not self.widths:
            raise RunError(_UNKNOWN)
        if len(teachers) != len(self.widths):
            raise UsageError(f"Concatenated: {len(self.widths)} blocks of classes for {len(teachers)} teachers")
        for m, (teacher, width) in enumerate(zip(teachers, self.widths, strict=True)):
            if teacher.ndim != 2 or teacher.shape[1] != width:
                raise UsageError(
                    f"Concatenated: teacher {m} shows {list(teacher.shape)}, its block has {width} classes"
                )


def _divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    return (log_p.exp() * (log_p - log_q)).sum(1)


INFO = (
    LossInfo(
        Concatenated,
        reads="logits",
        kind="sample",
        weight=1.0,
        labels_weight=0.0,
        summary="soft targets over the classes of several teachers together",
        paper="Luo et al., IJCAI 2019, arXiv 1906.10546",
        by_name=False,
    ),
)
