"""Where losses read two networks: addresses, pairs of stages, maps before their activation."""

import functools
import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from mentorch._errors import UsageError
from mentorch._graph import View
from mentorch._tap import Tap, parse
from mentorch.losses import LossInfo
from mentorch.methods._distill._look import look
from mentorch.methods._distill._preact import before_activation
from mentorch.networks import Taps
from mentorch.networks import taps as find_taps

Ends = tuple[str | tuple[str, ...], tuple[str, ...]]
"""What an edge reads: of the student, of the teacher."""


@dataclass(frozen=True)
class Places:
    """Where losses read a student and a teacher.

    Args:
        networks: ``student`` and ``teacher``.
        named: taps of those that do not say them themselves, or should not be asked.
        views: what each sees of the inputs.
        example: one small batch, its inputs first.
        pair: stages to compare, or ``auto``.
    """

    networks: Mapping[str, nn.Module]
    named: Mapping[str, Taps]
    views: Mapping[str, View]
    example: Sequence[Any] | None
    pair: Literal["auto"] | Sequence[tuple[str, str]]

    def ends(self, info: LossInfo) -> list[Ends]:
        """The edges of a loss."""
        if info.reads == "logits":
            return [("student", ("teacher",))]
        if info.preact and self.example is None:
            raise UsageError(f"{info.name} reads maps before their activation: pass example= to see where those are")
        own = {name: self.taps(name) for name in self.networks}
        student, teacher = (f"{name}.{own[name].embedding}" for name in ("student", "teacher"))
        if info.reads == "embedding":
            return [(student, (teacher,))]
        if info.reads == "stages_logits":
            return [((*(f"student.{stage}" for stage in own["student"].stages), "student"), ("teacher",))]
        pairs = [
            (self._address("student", s, info.preact), self._address("teacher", t, info.preact))
            for s, t in self._pairs(info, own)
        ]
        if info.reads in ("all_stages", "stages_embedding"):
            pairs += [(student, teacher)] if info.reads == "stages_embedding" else []
            return [(tuple(s for s, _ in pairs), tuple(t for _, t in pairs))]
        only = {"stage": min(1, len(pairs) - 1), "first_stage": 0, "last_stage": -1}
        return [(s, (t,)) for s, t in (pairs if info.reads == "stages" else [pairs[only[info.reads]]])]

    def known(self, name: str) -> Any:
        """``student_head`` or ``teacher_head``, the module that reads the embedding; or ``classes``, its outputs."""
        if name == "classes":
            return self.known("teacher_head").get_parameter("weight").shape[0]
        node = name.removesuffix("_head")
        return self.networks[node].get_submodule(self.path(node))

    def path(self, node: str) -> str:
        """Where a network's classifier is: the module that reads the embedding."""
        path, _, what = self.taps(node).embedding.partition(":")
        if what != "in":
            raise UsageError(
                f"the {node}'s embedding {path!r} is not the input of its classifier: name that with places="
            )
        return path

    def taps(self, name: str) -> Taps:
        """What a network shows, and where."""
        return self.named[name] if name in self.named else find_taps(self.networks[name])

    def _pairs(self, info: LossInfo, own: Mapping[str, Taps]) -> Sequence[tuple[str, str]]:
        if self.pair != "auto":
            return self.pair
        student, teacher = own["student"].stages, own["teacher"].stages
        if not student or not teacher:
            raise UsageError(
                f"{info.name} compares stages: name those of the {'teacher' if student else 'student'} with places="
            )
        if info.reads in ("first_stage", "last_stage"):  # of each network its own, whatever lies between
            end = 0 if info.reads == "first_stage" else -1
            return [(student[end], teacher[end])]
        if len(student) == len(teacher):
            return list(zip(student, teacher, strict=True))
        if self.example is None:
            raise UsageError(
                f"{info.name} compares stage by stage: the teacher has {', '.join(teacher)}, the student "
                f"{', '.join(student)}; pass example= to pair them by the size of their maps, or name pairs with pair="
            )
        sizes = [[_positions(shape) for shape in self._shapes[name]] for name in ("student", "teacher")]
        return [(student[i], teacher[j]) for i, j in pair_by_size(*sizes)]

    @functools.cached_property
    def tokens(self) -> bool:
        """Whether the example shows tokens at a stage of either network."""
        return self.example is not None and any(len(shape) == 3 for found in self._shapes.values() for shape in found)

    @functools.cached_property
    def _stages(self) -> dict[str, tuple[str, ...]]:
        """The stages of each network that may be compared."""
        if self.pair == "auto":
            return {name: self.taps(name).stages for name in self.networks}
        return dict(zip(("student", "teacher"), zip(*self.pair, strict=True), strict=True))

    @functools.cached_property
    def _shapes(self) -> dict[str, list[torch.Size]]:
        """What the example shows at the stages of each network."""
        return {name: self._seen(name, stages) for name, stages in self._stages.items()}

    def _seen(self, name: str, stages: Sequence[str]) -> list[torch.Size]:
        found = [Tap(parse(f"{name}.{stage}", self.networks)) for stage in dict.fromkeys(stages)]
        handles = [tap.install(self.networks[name]) for tap in found]
        try:
            for tap in found:
                tap.open()
            self._run(name)
            return [tap.take().shape for tap in found]
        finally:
            for handle in handles:
                handle.remove()

    @functools.cached_property
    def _before(self) -> dict[str, dict[str, str]]:
        """Of each network: stage -> where it is before its last activation."""
        found: dict[str, dict[str, str]] = {}
        for name, stages in self._stages.items():
            for stage in stages:
                parse(f"{name}.{stage}", self.networks)
            found[name] = before_activation(self.networks[name], stages, functools.partial(self._run, name))
        return found

    def _run(self, name: str) -> None:
        assert self.example is not None
        look(self.networks[name], self.views.get(name), self.example[0])

    def _address(self, name: str, stage: str, preact: bool) -> str:
        return f"{name}.{self._before[name][stage] if preact else stage}"


def pair_by_size(first: Sequence[int], second: Sequence[int]) -> list[tuple[int, int]]:
    """Pairs of positions in two lists of map sizes, in order: all of the shorter one, each with its nearest in size.

    Distance is that of the logarithms, summed. Of equally near pairings the one most even in depth, where stage i of n
    lies at i / n: a transformer has the same number of tokens everywhere. Then the one with the deepest stages.

    >>> pair_by_size([1024, 256, 64], [1024, 256, 64, 16])
    [(0, 0), (1, 1), (2, 2)]
    >>> pair_by_size([1024, 256, 64, 16], [256, 196])
    [(1, 0), (2, 1)]
    >>> pair_by_size([1024, 256, 64], [65] * 12)
    [(0, 3), (1, 7), (2, 11)]
    """
    if len(first) > len(second):
        return [(i, j) for j, i in pair_by_size(second, first)]
    n, m = len(first), len(second)

    def cost(i: int, j: int) -> tuple[int, int, int]:
        # integers, so that equal is equal
        return round(1e6 * abs(math.log2(first[i] / second[j]))), abs((i + 1) * m - (j + 1) * n), -j

    @functools.cache
    def best(i: int, j: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The cheapest stages of ``second[j:]`` for ``first[i:]``, after what they cost."""
        if i == n:
            return (0, 0, 0), ()
        choices = []
        for k in range(j, m - (n - i) + 1):
            rest, chosen = best(i + 1, k + 1)
            choices.append((tuple(map(operator.add, cost(i, k), rest)), (k, *chosen)))
        return min(choices)

    return list(enumerate(best(0, 0)[1]))


def _positions(shape: torch.Size) -> int:
    """How many positions a map has, how many tokens there are; one in a vector."""
    return math.prod(shape[2:] if len(shape) == 4 else shape[1:-1])
