"""Any iterable of batches, walked in an order that can be resumed."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sized
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from mentorch._errors import UsageError


class Batch(NamedTuple):
    """What one step sees."""

    inputs: Any
    labels: Any = None
    index: Tensor | None = None  # type: ignore[assignment]  # hides tuple.index, which nobody calls


@runtime_checkable
class Shares(Protocol):
    """Data that divides itself among processes and says how many batches each gets."""

    def count(self, rank: int, world: int) -> int: ...
    def iterate(self, epoch: int, start: int, rank: int, world: int) -> Iterator[Any]: ...


def as_batch(value: Any) -> Batch:
    """A tensor, a sequence ``(inputs, labels, index)`` (shorter is fine) or a mapping with these keys, as a batch.

    Raises:
        UsageError: for anything else.
    """
    if isinstance(value, Tensor):
        return Batch(value)
    if isinstance(value, tuple | list) and 1 <= len(value) <= 3:
        return Batch(*value)
    if isinstance(value, Mapping) and "inputs" in value:
        return Batch(value["inputs"], value.get("labels"), value.get("index"))
    kind = f"{type(value).__name__} of {len(value)}" if isinstance(value, tuple | list) else type(value).__name__
    raise UsageError(f"a batch is inputs, (inputs, labels) or (inputs, labels, index), got a {kind}")


def samples_in(batch: Batch) -> int:
    """How many samples a batch holds.

    The length of its inputs; of several tensors the longest, where neither index nor labels, of which each sample has
    one, tell.
    """
    if isinstance(batch.inputs, Tensor):
        return len(batch.inputs)
    for part in (batch.index, batch.labels, batch.inputs):
        leaves = torch.utils._pytree.tree_leaves(part)
        if lengths := [len(leaf) for leaf in leaves if isinstance(leaf, Tensor) and leaf.ndim]:
            return max(lengths)
    return 0


def length(data: Iterable[Any]) -> int | None:
    """How many batches data has, None if it does not know (a loader has ``len`` also where its data has not)."""
    try:
        return len(data) if isinstance(data, Sized) else None
    except TypeError:
        return None


def count(data: Iterable[Any], steps_per_epoch: int | None, what: str, world: int = 1) -> int:
    """Batches per epoch that every one of ``world`` processes gets.

    Raises:
        UsageError: if there are none, or their number is not known.
    """
    if steps_per_epoch is not None:
        number = steps_per_epoch
    elif world > 1 and isinstance(data, Shares):
        number = data.count(world - 1, world)  # the last rank has the fewest
    elif (known := length(data)) is not None:
        number = known
    else:
        raise UsageError(f"{what} has no length: pass steps_per_epoch=")
    if number < 1:
        raise UsageError(f"{what} gives no batch: is the batch larger than the data, with drop_last?")
    return number


def walk(data: Any, epoch: int, start: int, steps: int, rank: int = 0, world: int = 1) -> Iterator[Batch]:
    """The batches ``start`` ... ``steps - 1`` of an epoch.

    Data that knows its own order (``iterate(epoch, start, rank, world)``, as :class:`mentorch.data.Batches` does) jumps
    there; for anything else, whoever listens is told the epoch (``set_epoch``) and earlier batches are dropped.
    """
    if hasattr(data, "iterate"):
        batches: Iterator[Any] = data.iterate(epoch, start, rank, world)
    else:
        for part in (data, getattr(data, "sampler", None), getattr(data, "batch_sampler", None)):
            if part is not None and hasattr(part, "set_epoch"):
                part.set_epoch(epoch)
        batches = iter(data)
        for _ in range(start):
            next(batches, None)
    return map(as_batch, itertools.islice(batches, steps - start))


def generators(data: Any) -> list[torch.Generator]:
    """The generators of its own from which a data loader draws order and samples."""
    batch_sampler = getattr(data, "batch_sampler", None)
    owners = (data, getattr(data, "sampler", None), batch_sampler, getattr(batch_sampler, "sampler", None))
    found = [getattr(owner, "generator", None) for owner in (*owners, getattr(data, "dataset", None))]
    return list({id(one): one for one in found if isinstance(one, torch.Generator)}.values())


def to_device(batch: Batch, device: torch.device) -> Batch:
    """The batch on a device; nothing happens where it is there already."""
    if device.type == "cpu":
        return batch
    return torch.utils._pytree.tree_map_only(Tensor, lambda t: t.to(device, non_blocking=True), batch)  # type: ignore[no-any-return]
