"""Small pieces of numerical care that losses, metrics and scores share."""

import contextlib
import math
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mentorch._errors import UsageError

EPSILON = 1e-6  # lengths up to this count as zero


def full_precision(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors with half precisions cast up to float32; float64 and integers stay as they are.

    >>> x, labels = full_precision(torch.ones(2, dtype=torch.float16), torch.tensor([1, 2]))
    >>> x.dtype, labels.dtype
    (torch.float32, torch.int64)
    """
    return tuple(t.float() if t.dtype in (torch.float16, torch.bfloat16) else t for t in tensors)


def length(x: Tensor, dim: int = -1, *, keepdim: bool = False) -> Tensor:
    """Euclidean norm along ``dim``; value and gradient are 0 where it is at most 1e-6, as a root has no slope at 0."""
    size: Tensor = torch.linalg.vector_norm(x, dim=dim, keepdim=keepdim)
    return torch.where(size > EPSILON, size, 0.0)


def unit(x: Tensor, dim: int = -1) -> Tensor:
    """``x`` divided by its Euclidean norm along ``dim``; a row of zeros stays zero and gets the gradient zero.

    >>> unit(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    tensor([[0.6000, 0.8000],
            [0.0000, 0.0000]])
    """
    size: Tensor = torch.linalg.vector_norm(x, dim=dim, keepdim=True)
    return x * size.masked_fill(size <= EPSILON, torch.inf).reciprocal()  # one pass over x; nothing divides by zero


def relative(x: Tensor) -> Tensor:
    """``x`` over the largest absolute value of each sample, a constant for the gradient; a sample of zeros stays zero.

    For what depends on directions only: no square can overflow or vanish then.
    """
    size = x.detach().abs().flatten(1).amax(1).view(-1, *(1,) * (x.ndim - 1))
    return x / torch.where(size > 0, size, 1.0)


def z_score(x: Tensor, dim: int = 1) -> Tensor:
    """``x`` minus its mean, divided by its standard deviation (divisor C - 1) along ``dim``; constant rows become zero.

    >>> z_score(torch.tensor([[1.0, 2.0, 3.0], [5.0, 5.0, 5.0]]))
    tensor([[-1.0000,  0.0000,  1.0000],
            [ 0.0000,  0.0000,  0.0000]])
    """
    x = x - x.amax(dim, keepdim=True).detach()  # a constant row is now exactly 0, whatever the rounding of its mean
    centred = x - x.mean(dim, keepdim=True)
    return unit(centred, dim) * math.sqrt(x.shape[dim] - 1)


def products(a: Tensor, b: Tensor) -> Tensor:
    """All inner products of rows of ``a`` and ``b``, shape ``[N, M]``, in full precision also under autocast.

    Of rows with themselves, ``products(x, x)``, the gradient is one product, not one for each side.
    """
    once = a is b and not torch.compiler.is_compiling()  # which warns of such functions
    with torch.autocast(a.device.type, enabled=False):
        result: Tensor = _Gram.apply(a) if once else a @ b.mT  # type: ignore[no-untyped-call]
    return result


def cosines(a: Tensor, b: Tensor) -> Tensor:
    """Cosines of all pairs of rows of ``a`` and ``b``, shape ``[N, M]``; 0 to a row of zeros."""
    rows = unit(a)
    return products(rows, rows if a is b else unit(b))


class _Gram(torch.autograd.Function):
    """Inner products of rows with rows."""

    generate_vmap_rule = True  # for torch.func

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x @ x.mT

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (x,), (gradient,) = ctx.saved_tensors, gradients
        return products(gradient + gradient.mT, x.mT)


def align(a: Tensor, b: Tensor, *, pool: Callable[..., Tensor] = F.adaptive_avg_pool2d) -> tuple[Tensor, Tensor]:
    """Two maps ``[N, C, H, W]`` at a common size: whichever is larger is pooled down, height and width on their own.

    >>> [list(t.shape) for t in align(torch.ones(1, 2, 8, 4), torch.ones(1, 3, 4, 6))]
    [[1, 2, 4, 4], [1, 3, 4, 4]]
    """
    size = (min(a.shape[2], b.shape[2]), min(a.shape[3], b.shape[3]))
    first, second = (t if t.shape[2:] == size else pool(t, size) for t in (a, b))
    return first, second


_known: ContextVar[dict[Any, tuple[Tensor, Tensor]] | None] = ContextVar("known", default=None)


@contextlib.contextmanager
def computed_once() -> Iterator[None]:
    """Inside, :func:`log_probabilities` of a tensor is computed once, however many losses ask for it.

    What they get is one part of the autograd graph: a loss that goes backward by itself keeps it (``retain_graph``).
    """
    before = _known.set({})
    try:
        yield
    finally:
        _known.reset(before)


def log_probabilities(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """``log_softmax(logits / temperature)`` over the classes, ``[N, K, ...]``.

    >>> logits = torch.zeros(1, 2)
    >>> with computed_once():
    ...     log_probabilities(logits) is log_probabilities(logits)
    True
    """
    return _once("log", logits, temperature, _log_softmax)


def probabilities(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """``softmax(logits / temperature)`` over the classes, ``[N, K, ...]``, from its logarithm.

    >>> probabilities(torch.zeros(1, 2))
    tensor([[0.5000, 0.5000]])
    """
    return _once("exp", logits, temperature, lambda x, t: log_probabilities(x, t).exp())


def _log_softmax(logits: Tensor, temperature: float) -> Tensor:
    return F.log_softmax(logits if temperature == 1.0 else logits / temperature, dim=1)


def _once(kind: str, x: Tensor, option: float, compute: Callable[[Tensor, float], Tensor]) -> Tensor:
    known = None if torch.compiler.is_compiling() else _known.get()  # a compiler finds what is common by itself
    if known is None or (x.requires_grad and not torch.is_grad_enabled()):  # others need the gradient
        return compute(x, option)
    key = (kind, id(x), written(x), option)
    if key not in known:  # x is kept as well: as long as it lives no other tensor has its id
        known[key] = x, compute(x, option)
    return known[key][1]


def written(values: Any) -> int:
    """Grows when a tensor is written in place, or one of several, whatever holds them; 0 where that is not known."""
    if torch.compiler.is_compiling():
        return 0
    leaves = [values] if isinstance(values, Tensor) else torch.utils._pytree.tree_leaves(values)
    return sum(x._version for x in leaves if isinstance(x, Tensor) and not x.is_inference())


def constant(x: Tensor) -> Tensor:
    """``x`` without gradient: itself, where it has none."""
    return x.detach() if x.requires_grad else x


def per_sample(x: Tensor) -> Tensor:
    """Mean over everything but the first axis: ``[N, ...]`` to ``[N]``."""
    if x.ndim == 1:
        return x
    x = x.flatten(1)
    return x.sum(1) / x.shape[1]  # unlike a mean's, its gradient need not be written out before it is used


def squared_error(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared difference of each sample, ``[N]``; one pass over memory forward, and one backward."""
    return per_sample(F.mse_loss(a, b, reduction="none"))


def same_shape(name: str, student: Tensor, teacher: Tensor, hint: str) -> None:
    """Raise if two tensors that ``name`` compares entry by entry differ in shape; ``hint`` says what to do."""
    if student.shape != teacher.shape:
        raise UsageError(
            f"{name}: student {list(student.shape)} and teacher {list(teacher.shape)} differ in shape: {hint}"
        )


def looks_like_probabilities(x: Tensor) -> bool:
    """Whether every row of ``x``, shape ``[N, K]``, is a distribution: such a "logit" would be softened twice.

    Reads values on the host, so it belongs into set-up, never into a step.

    >>> logits = torch.tensor([[2.0, -1.0, 0.5]])
    >>> looks_like_probabilities(logits), looks_like_probabilities(logits.softmax(dim=1))
    (False, True)
    """
    if x.numel() == 0 or not x.is_floating_point():
        return False
    (rows,) = full_precision(x.detach())
    return bool((rows >= 0).all() & ((rows.sum(1) - 1).abs() < 1e-2).all())


def gathered(x: Tensor) -> Tensor:
    """The rows of ``x`` of every process, in the order of ranks; ``x`` itself where training is not distributed.

    Gradients flow back to the process whose rows they are: with the gradients of parameters averaged over processes,
    as data-parallel training does, W processes of N samples learn what one process of W N samples would. Every process
    must call it, with the same number of rows.
    """
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return x
    result: Tensor = _Gather.apply(x)  # type: ignore[no-untyped-call]
    return result


def own_rows(x: Tensor, count: int) -> Tensor:
    """The ``count`` rows of ``gathered(...)`` that are this process's own."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return x
    start = torch.distributed.get_rank() * count
    return x[start : start + count]


class _Gather(torch.autograd.Function):
    """All processes' rows; backward adds up what all processes want of ours."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.count = len(x)
        x = x.contiguous()
        parts = [torch.empty_like(x) for _ in range(torch.distributed.get_world_size())]
        torch.distributed.all_gather(parts, x)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous().clone()
        torch.distributed.all_reduce(total)
        return own_rows(total, ctx.count)


def comparable(*features: Tensor) -> list[Tensor]:
    """Features of several networks at one size: maps ``[N, C, H, W]`` averaged down to the smallest height and width.

    Where not all are maps, all become vectors ``[N, C]``: maps and tokens ``[N, T, C]`` are averaged over positions.

    >>> [list(x.shape) for x in comparable(torch.ones(1, 2, 8, 4), torch.ones(1, 3, 4, 6), torch.ones(1, 5, 4, 4))]
    [[1, 2, 4, 4], [1, 3, 4, 4], [1, 5, 4, 4]]
    >>> [list(x.shape) for x in comparable(torch.ones(1, 2, 8, 4), torch.ones(1, 16, 3), torch.ones(1, 5))]
    [[1, 2], [1, 3], [1, 5]]
    """
    if all(x.ndim == 4 for x in features):
        size = (min(x.shape[2] for x in features), min(x.shape[3] for x in features))
        return [x if x.shape[2:] == size else F.adaptive_avg_pool2d(x, size) for x in features]
    return [x.mean((2, 3)) if x.ndim == 4 else x.mean(1) if x.ndim == 3 else x for x in features]
