"""Classes of several networks as classes of one."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import torch
from torch import Tensor

from mentorch._errors import UsageError, unknown


@dataclass(frozen=True)
class LabelSpace:
    """What the outputs of a network mean: class names in order; for a joint space also whose classes they are.

    >>> joint = LabelSpace.union({"pets": ("cat", "dog"), "farm": ("cow", "dog", "hen")})
    >>> joint.names
    ('cat', 'dog', 'cow', 'hen')
    >>> joint.parts["farm"], joint.owners("dog")
    ((2, 1, 3), ('pets', 'farm'))
    >>> joint.to_joint("farm", torch.tensor([0, 1])), joint.to_own("farm", torch.tensor([2, 0]))
    (tensor([2, 1]), tensor([ 0, -1]))

    Args:
        names: of the classes; their positions are the labels, always int64.
        parts: of a joint space: part -> for each of its own classes the class here, -1 for one that is not here.

    Raises:
        UsageError: if there is no class, two have one name, or a part says something impossible.
    """

    names: tuple[str, ...]
    parts: Mapping[str, tuple[int, ...]] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(self.names))
        object.__setattr__(self, "parts", {name: tuple(classes) for name, classes in self.parts.items()})
        if not self.names:
            raise UsageError("a label space needs at least one class: nobody knows what the outputs mean")
        if twice := sorted({name for name in self.names if self.names.count(name) > 1}):
            raise UsageError(f"class {twice[0]!r} is there twice in a label space")
        for part, classes in self.parts.items():
            kept = [k for k in classes if k >= 0]
            if len(set(kept)) < len(kept) or any(not -1 <= k < len(self.names) for k in classes):
                raise UsageError(f"part {part!r} of a label space of {len(self.names)} classes cannot be {classes}")

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def union(
        cls,
        spaces: Mapping[str, Self | Sequence[str]],
        *,
        overlap: Literal["merge", "keep"] = "merge",
        same: Mapping[str, str] | None = None,
    ) -> Self:
        """The classes of all parts, in their order, each part's own classes mapped.

        Args:
            spaces: part -> its label space, or its class names.
            overlap: ``merge``: what has one name is one class; ``keep``: every part keeps all of its classes to
                itself, and a name that several have is written PART/NAME.
            same: a class under the first name is the one under the second: ``{"automobile": "car"}``.

        Raises:
            UsageError: for a part without classes, or a name in ``same`` that no part has.
        """
        if overlap not in ("merge", "keep"):
            raise unknown("overlap of label spaces", overlap, ("merge", "keep"))
        own = {part: space.names if isinstance(space, LabelSpace) else tuple(space) for part, space in spaces.items()}
        for name in same or {}:
            if not any(name in names for names in own.values()):
                raise unknown("class in same", name, {name for names in own.values() for name in names})
        for part, names in own.items():
            if not names:
                raise UsageError(f"{part!r} does not say what its classes are: name them")
            own[part] = LabelSpace(tuple((same or {}).get(name, name) for name in names)).names  # each once
        if overlap == "keep":
            count = Counter(name for names in own.values() for name in names)
            own = {p: tuple(f"{p}/{name}" if count[name] > 1 else name for name in names) for p, names in own.items()}
        joint: dict[str, int] = {}
        parts = {part: tuple(joint.setdefault(name, len(joint)) for name in names) for part, names in own.items()}
        return cls(tuple(joint), parts)

    def only(self, names: Sequence[str]) -> Self:
        """The space of some of the classes, in the order given; the parts' other classes are not here any more.

        Raises:
            UsageError: for a class that is not in this space.
        """
        for name in names:
            if name not in self.names:
                raise unknown("class", name, self.names)
        place = {self.names.index(name): i for i, name in enumerate(names)}
        parts = {part: tuple(place.get(k, -1) for k in classes) for part, classes in self.parts.items()}
        return type(self)(tuple(names), parts)

    def block(self, part: str) -> Tensor:
        """The classes here that a part knows, in its own order, int64; offset, offset + 1, ... if nothing overlaps."""
        return torch.tensor([k for k in self._part(part) if k >= 0], dtype=torch.int64)

    def owners(self, name: str) -> tuple[str, ...]:
        """The parts that know a class."""
        if name not in self.names:
            raise unknown("class", name, self.names)
        index = self.names.index(name)
        return tuple(part for part, classes in self.parts.items() if index in classes)

    def to_joint(self, part: str, labels: Tensor) -> Tensor:
        """Labels of a part as labels of this space, any shape, int64; -1 for a class that is not here.

        Raises:
            UsageError: for a label that the part does not have.
        """
        table = torch.tensor(self._part(part), dtype=torch.int64, device=labels.device)
        return table[_checked(labels, len(table), f"label of {part!r}")]

    def to_own(self, part: str, labels: Tensor) -> Tensor:
        """Labels of this space as a part's own, any shape, int64; -1 for a class that the part does not know.

        Raises:
            UsageError: for a label that is not in this space.
        """
        classes = self._part(part)
        own = [classes.index(k) if k in classes else -1 for k in range(len(self))]
        table = torch.tensor(own, dtype=torch.int64, device=labels.device)
        return table[_checked(labels, len(self), "joint label")]

    def within(self, part: str, outputs: Tensor) -> Tensor:
        """Joint outputs ``[N, K]`` with minus infinity at what a part does not know: what is said if its task is known.

        >>> joint = LabelSpace.union({"pets": ("cat", "dog"), "farm": ("cow",)})
        >>> joint.within("pets", torch.tensor([[1.0, 2.0, 3.0]]))
        tensor([[1., 2., -inf]])
        """
        block = self.block(part).to(outputs.device)
        known = torch.zeros(outputs.shape[1], dtype=torch.bool, device=outputs.device).index_fill(0, block, True)
        return outputs.masked_fill(~known, -torch.inf)

    def placed(self, part: str, outputs: Tensor) -> Tensor:
        """A part's own outputs ``[N, C]`` where they belong in the joint ones ``[N, K]``, minus infinity elsewhere.

        >>> joint = LabelSpace.union({"pets": ("cat", "dog"), "farm": ("dog", "cow")})
        >>> joint.placed("farm", torch.tensor([[1.0, 2.0]]))
        tensor([[-inf, 1., 2.]])
        """
        classes = self._part(part)
        if outputs.shape[1] != len(classes):
            raise UsageError(f"{part!r} has {len(classes)} classes, not the {outputs.shape[1]} outputs given")
        joint = outputs.new_full((len(outputs), len(self)), -torch.inf)
        own = torch.tensor([i for i, k in enumerate(classes) if k >= 0], device=outputs.device)
        return joint.index_copy(1, self.block(part).to(outputs.device), outputs.index_select(1, own))

    def describe(self) -> list[dict[str, Any]]:
        """For a card: what each output is, and which class of which part.

        >>> LabelSpace.union({"pets": ("cat", "dog"), "farm": ("cow", "dog")}).describe()[1]
        {'output': 1, 'class': 'dog', 'of': {'pets': 1, 'farm': 1}}
        """
        return [
            {"output": k, "class": name, "of": {part: self.parts[part].index(k) for part in self.owners(name)}}
            for k, name in enumerate(self.names)
        ]

    def _part(self, part: str) -> tuple[int, ...]:
        if part not in self.parts:
            raise unknown("part of the label space", part, self.parts)
        return self.parts[part]


def _checked(labels: Tensor, classes: int, what: str) -> Tensor:
    labels = labels.long()  # in 8 bits class 256 + k would be class k
    if labels.numel() and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        wrong = int(labels.max()) if int(labels.max()) >= classes else int(labels.min())
        raise UsageError(f"{what} {wrong} lies outside 0..{classes - 1}")
    return labels
