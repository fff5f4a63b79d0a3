"""Contrastive representation distillation, without gathering the memory."""

import math
from collections.abc import Iterable
from typing import Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mentorch._errors import RunError, UsageError, unknown
from mentorch._math import full_precision, gathered, products, unit
from mentorch.losses._info import LossInfo

_DENSE = 32  # up to so many columns per negative, all products cost less than gathering the rows of the negatives
_CHUNK = 2**25  # numbers that are gathered at once beyond that
_ODD = -0x7B935975


class CRD(nn.Module):
    r"""A sample's own teacher embedding told from those of others (contrastive representation distillation).

    .. math:: \ell_b = \sum_{sides} \left( -\log \sigma(u_{b+}) - \sum_{k=1}^{K} \log \sigma(-u_{bk}) \right), \quad
        u = \langle e_b, M_k \rangle / \tau - \log Z - \log (K / N)

    with e the embeddings after a linear layer each and of unit length, and M a memory of the *other* side's embedding
    of every sample of the training set, of which row k moves to ``unit(m M_k + (1 - m) e_k)`` after each step that saw
    sample k. The two sides are the student against the teacher's memory and the reverse; both layers learn. Z is fixed
    on the batch that it is built from, one for each side: N times the mean of all exp(<e, M> / tau). Kind ``row``: the
    entries share the memory. Published: weight 0.8 on the embedding, K = 16384, tau = 0.07, momentum 0.5 (CIFAR-100).

    The value is that of the published code and of torchdistill up to their epsilon of 1e-7 inside a quotient, but the
    rows of the negatives are never gathered (two tensors of 537 MB for a batch of 64): all products with the memory are
    one matrix product, of which the numbers wanted are read, and their gradient is another. It is computed with the
    value, so the memory can move on before the backward pass. Beyond 32 samples per negative, gathering costs less
    again; it is done in pieces then.

    Negatives are drawn on the device by hashing (seed, step, sample, draw): seed and step are saved with the memory, so
    a resumed run draws the same. Each comes out of its own K-th part of the samples; where that finds the anchor's
    class, out of all other classes. So all samples of other classes are as likely, and hardly one comes twice (the
    published loader draws without replacement); and the memory is read in order, four times faster than out of order.
    Classes are learned as samples come by; what was never seen counts as another class, as its row of the memory is
    noise anyway.

    Args:
        samples: N, one more than the largest index.
        negatives: K, how many others each sample is told from.
        mode: whose memory is the positive: ``exact``, the sample's own, or ``relax``, one of its class.
        temperature: tau > 0 of the similarities.
        momentum: m in [0, 1) of the memory.
        dim: width of the embeddings.
        shared: another estimate of the same sum: all anchors of a batch share K negatives, drawn among all samples; of
            them those of other classes count, K over their number times each. It needs no product with the whole
            memory, for a third of the cost at N = 3 K, and is the one for millions of samples.
        gather: whether the memory learns the samples of all processes in distributed training.

    Raises:
        UsageError: for an unknown mode, sizes below 1, a temperature that is not positive or a momentum out of range.

    References:
        Tian, Krishnan, Isola, "Contrastive Representation Distillation", ICLR 2020, arXiv 1910.10699, equations 9 to
            19.

    >>> _ = torch.manual_seed(0)
    >>> batch = torch.randn(4, 8), torch.randn(4, 16), torch.tensor([0, 1, 0, 1]), torch.arange(4)
    >>> crd = CRD(samples=50, negatives=20).build(*batch)  # student, teacher, labels, index
    >>> crd(*batch).shape
    torch.Size([4])
    """

    seed: Tensor
    step: Tensor
    log_z: Tensor
    classes: Tensor
    student_memory: Tensor
    teacher_memory: Tensor

    def __init__(
        self,
        *,
        samples: int,
        negatives: int = 16384,
        mode: Literal["exact", "relax"] = "exact",
        temperature: float = 0.07,
        momentum: float = 0.5,
        dim: int = 128,
        shared: bool = False,
        gather: bool = True,
    ):
        super().__init__()
        if mode not in ("exact", "relax"):
            raise unknown("mode of CRD", mode, ("exact", "relax"))
        if min(samples, negatives, dim) < 1:
            raise UsageError(f"CRD: samples, negatives and dim must be positive, not {samples}, {negatives} and {dim}")
        if temperature <= 0 or not 0 <= momentum < 1:
            raise UsageError(f"CRD: needs temperature > 0 and 0 <= momentum < 1, not {temperature} and {momentum}")
        self.samples, self.negatives, self.mode, self.dim = samples, negatives, mode, dim
        self.temperature, self.momentum = temperature, momentum
        self.shared, self.gather = shared, gather
        self.student: nn.Linear | None = None
        self.teacher: nn.Linear | None = None

    def build(self, student: Tensor, teacher: Tensor, labels: Tensor, index: Tensor) -> Self:
        """Create layers, memory and random state for embeddings ``[N, D]`` and ``[N, E]`` (more axes are flattened).

        Raises:
            UsageError: if it was built for other widths, for soft labels, or an index that does not fit.
        """
        widths = student[0].numel(), teacher[0].numel()
        if self.student is not None and self.teacher is not None:
            built = self.student.in_features, self.teacher.in_features
            if widths != built:
                raise UsageError(f"this CRD was built for widths {built}, not {widths}: make another")
            return self
        _check(labels)
        if int(index.max()) >= self.samples or int(index.min()) < 0:
            raise UsageError(f"CRD: sample {int(index.max())} is not among samples={self.samples}: raise samples")
        (example,) = full_precision(student)
        self.student, self.teacher = (nn.Linear(w, self.dim).to(example.device, example.dtype) for w in widths)
        bound = math.sqrt(3 / self.dim)
        for name in ("student_memory", "teacher_memory"):
            memory = torch.empty(self.samples, self.dim, dtype=example.dtype).uniform_(-bound, bound)
            self.register_buffer(name, memory.to(example.device))
        self.register_buffer("classes", torch.full((self.samples,), -1, device=example.device))  # -1: not seen yet
        self.register_buffer("log_z", example.new_zeros(2))
        self.register_buffer("step", torch.zeros((), dtype=torch.int32, device=example.device))
        self.register_buffer("seed", torch.randint(2**31 - 1, (), dtype=torch.int32).to(example.device))
        with torch.no_grad():
            labels, index = labels.long(), index.long()
            pair = self._embed(student, teacher)
            positives, negatives = self._draw(self.classes.index_copy(0, index, labels), labels, index)
            for z, e, memory in zip(self.log_z, pair, (self.teacher_memory, self.student_memory), strict=True):
                near = (e * memory[positives]).sum(1, keepdim=True)
                scores = torch.cat([near, _products(e, *self._bank(memory, negatives))], 1) / self.temperature
                z.copy_(scores.logsumexp((0, 1)) - math.log(scores.numel() / self.samples))
        return self

    def forward(self, student: Tensor, teacher: Tensor, labels: Tensor, index: Tensor) -> Tensor:
        """One value per anchor, at least 0, shape ``[N]``; in training mode the memory moves on.

        Args:
            student: embeddings, shape ``[N, D]``.
            teacher: embeddings, shape ``[N, E]``; no gradient reaches them, only their linear layer.
            labels: true classes, integers from 0, shape ``[N]``.
            index: which samples these are, below ``samples``, shape ``[N]``.

        Raises:
            RunError: before :meth:`build`.
            UsageError: for soft labels or lengths that differ.
        """
        if self.student is None or self.teacher is None:
            raise RunError(
                "this CRD has no memory yet: call build(student, teacher, labels, index), or give the graph "
                "an example batch"
            )
        _check(labels)
        if not len(student) == len(teacher) == len(labels) == len(index):
            lengths = [len(x) for x in (student, teacher, labels, index)]
            raise UsageError(f"CRD: student, teacher, labels and index differ in length: {lengths}")
        labels, index = labels.long(), index.long()
        pair = self._embed(student, teacher)
        with torch.no_grad():
            where, seen, *moves = (gathered(x) if self.gather else x for x in (index, labels, *pair))
            classes = self.classes.index_copy(0, where, seen)
            positives, negatives = self._draw(classes, labels, index)
            counts = _counts(classes[negatives], labels, pair[0].dtype) if self.shared else None
        values = [
            self._side(e, memory[positives], *self._bank(memory, negatives), log_z, counts)
            for e, memory, log_z in zip(pair, (self.teacher_memory, self.student_memory), self.log_z, strict=True)
        ]
        if self.training:
            with torch.no_grad():
                self.classes.copy_(classes)
                self.step.add_(1)
                for memory, e in zip((self.student_memory, self.teacher_memory), moves, strict=True):
                    memory.index_copy_(0, where, unit(self.momentum * memory[where] + (1 - self.momentum) * e))
        return values[0] + values[1]

    def _embed(self, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        assert self.student is not None
        assert self.teacher is not None
        student, teacher = full_precision(student.flatten(1), teacher.detach().flatten(1))
        with torch.autocast(student.device.type, enabled=False):
            return unit(self.student(student)), unit(self.teacher(teacher))

    def _draw(self, classes: Tensor, labels: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """Rows of the memory: the positive of each anchor ``[N]``, and its negatives ``[N, K]``, or ``[K]`` if shared.

        With the samples in the order of their classes, those of one class are an interval of a circle: others are
        counted from its end.
        """
        in_order, order = classes.sort(stable=True)
        first = torch.searchsorted(in_order, labels)
        own = torch.searchsorted(in_order, labels, right=True) - first
        row = _mix(_mix(index.int() ^ self.seed) + self.step)
        positives = index if self.mode == "exact" else order[first + _below(_mix(row), own)]
        count = torch.arange(1, self.negatives + 1, dtype=torch.int32, device=row.device)
        if self.shared:
            noise = _mix(_mix(self.seed + self.step) + count)
            return positives, _below(noise, torch.full_like(noise, self.samples, dtype=torch.int64))
        noise = _mixed_upper(row[:, None] + count)
        spread = _spread(noise, self.samples)  # [N, K]
        differs = (classes.int() + 1).index_select(0, spread.flatten()).view_as(spread)
        differs = differs.bitwise_xor_(labels.int()[:, None] + 1).clamp_(max=1)  # 0 for the own class, else 1
        # from the end of the own class to the end of the order and on from its start; own class if there is no other
        others, end = (self.samples - own).int()[:, None], (first + own).int()[:, None]
        place = _scaled(noise.mul_(_ODD), others).int().clamp_(max=others - 1).add_(end)
        other = torch.cat([order, order]).int().index_select(0, place.flatten()).view_as(place)
        return positives, spread.sub_(other).mul_(differs).add_(other).long()

    def _bank(self, memory: Tensor, negatives: Tensor) -> tuple[Tensor, Tensor | None]:
        """The memory and which rows of it each anchor meets; or the rows that all of them meet."""
        return (memory.index_select(0, negatives), None) if self.shared else (memory, negatives)

    def _side(
        self, e: Tensor, positive: Tensor, bank: Tensor, rows: Tensor | None, log_z: Tensor, counts: Tensor | None
    ) -> Tensor:
        """Values of one side, shape ``[N]``."""
        shift = log_z + math.log(self.negatives / self.samples)
        near = (e * positive).sum(1) / self.temperature - shift  # [N]
        with torch.no_grad():
            value, slope = _far(e / self.temperature, bank, rows, shift, counts)
        # the last adds the gradient alone
        return -F.logsigmoid(near) + value + ((e - e.detach()) * (slope / self.temperature)).sum(1)


def _check(labels: Tensor) -> None:
    if labels.is_floating_point() or labels.ndim != 1:
        raise UsageError(f"CRD: needs integer labels [N], got {labels.dtype} {list(labels.shape)}")


def _products(e: Tensor, bank: Tensor, rows: Tensor | None) -> Tensor:
    """Inner products of each embedding with its own rows of the bank, shape ``[N, K]``."""
    if rows is None:
        return products(e, bank)
    if len(bank) <= _DENSE * rows.shape[1]:
        return products(e, bank).gather(1, rows)
    return torch.cat([products(x.unsqueeze(1), bank[r]).squeeze(1) for x, r in _pieces(e, rows)])


def _far(e: Tensor, bank: Tensor, rows: Tensor | None, shift: Tensor, counts: Tensor | None) -> tuple[Tensor, Tensor]:
    """Sum over the negatives of each anchor, shape ``[N]``, and its gradient in ``e``, shape ``[N, D]``."""
    if rows is None:
        value, weights = _terms(products(e, bank), shift, counts)
        return value, products(weights, bank.mT)
    if len(bank) <= _DENSE * rows.shape[1]:
        every = products(e, bank)
        value, weights = _terms(every.gather(1, rows), shift, counts)
        return value, products(every.zero_().scatter_add_(1, rows, weights), bank.mT)
    values, slopes = [], []
    for x, r in _pieces(e, rows):
        chosen = bank[r]
        value, weights = _terms(products(x.unsqueeze(1), chosen).squeeze(1), shift, counts)
        values.append(value)
        slopes.append(products(weights.unsqueeze(1), chosen.mT).squeeze(1))
    return torch.cat(values), torch.cat(slopes)


def _terms(far: Tensor, shift: Tensor, counts: Tensor | None) -> tuple[Tensor, Tensor]:
    """Sum of ``-log(sigmoid(-u))`` over the negatives, ``[N]``, and each one's derivative, ``[N, K]``, in place."""
    far = far.sub_(shift)
    value, slope = F.softplus(far, threshold=40.0), far.sigmoid_()  # beyond it, the value is u itself
    if counts is not None:
        value, slope = value.mul_(counts), slope.mul_(counts)
    return value.sum(1), slope


def _counts(classes: Tensor, labels: Tensor, dtype: torch.dtype) -> Tensor:
    """How often each of the shared negatives counts for each anchor: 0 for its own class, and K in all."""
    other = (classes != labels[:, None]).to(dtype)
    return other * (len(classes) / other.sum(1, keepdim=True).clamp(min=1))


def _pieces(x: Tensor, rows: Tensor) -> Iterable[tuple[Tensor, Tensor]]:
    """A few anchors at a time, so that their rows fit."""
    size = max(1, _CHUNK // (rows.shape[1] * 128))
    return zip(torch.split(x, size), torch.split(rows, size), strict=True)


def _mix(x: Tensor) -> Tensor:
    """Bits in which every bit of ``x`` matters: multiplications and shifts of int32, which wrap around."""
    return _folded(_mixed_upper(x), 16)


def _mixed_upper(x: Tensor) -> Tensor:
    """The same for the upper half of the bits, a new tensor."""
    return _folded(_folded(x, 16).mul_(0x7FEB352D), 15).mul_(_ODD)


def _folded(x: Tensor, shift: int) -> Tensor:
    # masked, as a shift of negative numbers fills up with ones
    return (x >> shift).bitwise_and_((1 << 32 - shift) - 1).bitwise_xor_(x)


def _below(noise: Tensor, bound: Tensor) -> Tensor:
    """Integers in [0, bound) from 31 bits of noise, int64."""
    return (noise & 0x7FFFFFFF).long().mul_(bound).bitwise_right_shift_(31)


def _spread(noise: Tensor, samples: int) -> Tensor:
    """One integer out of each of K equal parts of [0, samples), in order, from noise ``[N, K]``; int32."""
    count = noise.shape[1]
    start = torch.arange(count, device=noise.device) * samples  # in K-ths
    width = samples / count
    offset = _scaled(noise, width).add_((start % count).float() / count)
    return offset.int().add_((start // count).int()).clamp_(max=samples - 1)  # float32 may round up to the next part


def _scaled(noise: Tensor, width: Tensor | float) -> Tensor:
    """Numbers from 0 to ``width`` from 32 bits of noise, float32, which may round up to the end."""
    return noise.float().mul_(width / 2**32).add_(width / 2)


INFO = (
    LossInfo(
        CRD,
        reads="embedding",
        kind="row",
        weight=0.8,
        labels=True,
        index=True,
        context=("samples",),
        summary="a sample's own teacher embedding among those of many other samples",
        paper="Tian et al., ICLR 2020, arXiv 1910.10699",
    ),
)
