"""What a program has to know about a loss to draw its edge."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from types import BuiltinFunctionType, FunctionType
from typing import Any, Literal

Reads = Literal[
    "logits",
    "embedding",
    "stage",
    "first_stage",
    "last_stage",
    "stages",
    "all_stages",
    "stages_embedding",
    "stages_logits",
]
Kind = Literal["sample", "row", "batch"]


@dataclass(frozen=True)
class LossInfo:
    """Facts about a loss, as data.

    Attributes:
        function: the loss, ``function(student, *sources, **options)``, or the class of a loss that owns weights, made
            as ``function(**options)`` and called the same way. The sources are what it reads of the teacher, then the
            labels, then the index of the samples, as far as it reads them.
        reads: which tensors of student and teacher it compares: ``logits``; ``embedding``; one pair of maps, of the
            ``first_stage``, the ``last_stage``, or the middle ``stage``; every pair of ``stages``, one edge each;
            or, on one edge whose loss gets a tuple for the student, ``all_stages`` of both; ``stages_embedding``, the
            same and then the embeddings; ``stages_logits``, the student's stages and logits against the teacher's
            logits.
        kind: ``sample``: entry b depends on sample b alone; ``row``: entry b is the share of anchor b, and depends on
            the others; ``batch``: one number for the whole batch. Of several named terms, the least local one's.
        weight: the published weight, translated to the mean of what the function returns.
        summary: one line for a list.
        paper: where it is from.
        name: what it is called in lists; by default the name of the function, of a class in lower case.
        teacher: whether it compares with a teacher; otherwise the labels are its only source.
        labels: whether it reads the labels.
        index: whether it reads which samples these are.
        context: keywords that only whoever draws the edge can know: ``samples`` (one more than the
            largest index), ``classes`` (how many), ``student_head`` and ``teacher_head`` (the
            classifiers; the teacher's is frozen).
        adapter: whether the student's tensor needs an adapter (see ``Regressor``) unless shapes agree.
        preact: whether it reads the maps of stages before their last activation, where networks show them.
        stage_factor: of a loss with an edge for each stage: the deepest has ``weight``, each before it so many times
            that of the next.
        labels_weight: the weight of the labels' cross-entropy that was published with ``weight``.
        by_name: whether a name is enough to draw it.
        pairs: whether a batch must hold two views of each sample, ``[weak; strong]``: ``Batches(strong=)``.
        also: sources after all others, read by wrappers around the loss, such as ``where_correct``.

    >>> def half(student, teacher): ...
    >>> LossInfo(half, reads="logits", kind="sample", weight=1.0, summary="", paper="").name
    'half'
    """

    function: Callable[..., Any]
    reads: Reads
    kind: Kind
    weight: float
    summary: str
    paper: str
    name: str = ""
    teacher: bool = True
    labels: bool = False
    index: bool = False
    context: tuple[Literal["samples", "classes", "student_head", "teacher_head"], ...] = ()
    adapter: bool = False
    preact: bool = False
    stage_factor: float = 1.0
    labels_weight: float = 1.0
    by_name: bool = True
    pairs: bool = False
    also: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.name:
            name = self.function.__name__
            object.__setattr__(self, "name", name.lower() if isinstance(self.function, type) else name)

    @property
    def is_class(self) -> bool:
        """Whether the loss owns weights: then ``function`` makes it."""
        return isinstance(self.function, type)


def layers(loss: Callable[..., Any]) -> list[Any]:
    """A loss, what it wraps, what that wraps: options bound by ``functools.partial`` and wrappers taken off in turn.

    >>> [type(layer).__name__ for layer in layers(functools.partial(max, 1))]
    ['partial', 'builtin_function_or_method']
    """
    found = [loss]
    while (inner := getattr(found[-1], "func", None) or getattr(found[-1], "__wrapped__", None)) is not None:
        found.append(inner)
    return found


def describe(loss: Callable[..., Any]) -> str:
    """A loss as one would write it.

    >>> describe(functools.partial(max, 1, key=abs))
    'partial(max, 1, key=abs)'
    """
    if isinstance(loss, functools.partial):
        options = [*map(repr, loss.args), *(f"{key}={_value(value)}" for key, value in loss.keywords.items())]
        return f"partial({', '.join([describe(loss.func), *options])})"
    return _value(loss)


def _value(value: Any) -> str:
    return value.__name__ if isinstance(value, type | FunctionType | BuiltinFunctionType) else repr(value)
