"""Batches of a split whose order and augmentation are functions of (seed, epoch, index)."""

import functools
from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from mentorch._errors import UsageError
from mentorch.data._augment import Augment
from mentorch.data._dataset import Split
from mentorch.data._keys import fold, sample_keys
from mentorch.data._numbers import whole

# the order of samples, and each thing that happens to them, have random numbers of their own
_ORDER = 1
_STRONG = 2
_COPY = 3


class Batch(NamedTuple):
    """What a training step sees.

    Attributes:
        inputs: images in [0, 1], float32, shape `[N, C, H, W]`.
        labels: class numbers, int64, shape `[N]`; of a `DenseSplit`, a mapping of targets.
        index: rows in the official split, int64, shape `[N]`.
    """

    inputs: Tensor
    labels: Any
    index: Tensor  # type: ignore[assignment]  # hides tuple.index, which a batch has no use for


class Rows(Protocol):
    """What batches are made of: a `Split`, or a `mentorch.data.dense.DenseSplit`."""

    @property
    def images(self) -> Tensor: ...
    @property
    def index(self) -> Tensor: ...
    def __len__(self) -> int: ...
    def batch(self, rows: Tensor, augment: Augment | None, key: Tensor | None) -> tuple[Tensor, Any]: ...


@dataclass(frozen=True, eq=False)
class Batches:
    """Batches of a split, made on its device, without a loop over samples and without waiting for the device.

    Iterating gives epoch 0; `iterate` gives any epoch from any batch. There is no state to save: to resume is to
    iterate again with the same epoch and the number of batches already seen. Where an index repeats (oversampling),
    each copy has a place in the order and an augmentation of its own.

    Attributes:
        split: where the images are: a `Split`, or a `mentorch.data.dense.DenseSplit`.
        batch_size: images per batch and rank.
        shuffle: a new order in each epoch.
        augment: ``augment(images, key) -> images``, or None; of a `DenseSplit`, a `mentorch.data.dense.Together`.
        seed: of the order, and of the augmentation unless ``view_seed`` is given.
        drop_last: leave out the last batch where it is smaller; never in evaluation.
        views: how many augmented versions of each image exist; epoch e shows version e modulo ``views``. None: a new
            version in each epoch.
        view_seed: of the augmentation, so that runs with different orders can show the same versions of each image.
        strong: a second augmentation. Each batch then holds its samples twice, first as ``augment`` shows them and
            then all as this one does: `[2N, C, H, W]`, with labels and index twice too. For losses that compare two
            views of a sample, such as `mentorch.losses.mlkd`; of a `Split` only.

    Raises:
        UsageError: for an empty split, a batch size or views below one, numbers that are not whole, or a batch larger
            than the split together with ``drop_last``, and for ``strong`` with dense targets.
    """

    split: Rows
    batch_size: int
    _: KW_ONLY
    shuffle: bool = False
    augment: Augment | None = None
    seed: int = 0
    drop_last: bool = False
    views: int | None = None
    view_seed: int | None = None
    strong: Augment | None = None

    def __post_init__(self) -> None:
        whole("batch size", self.batch_size, least=1)
        whole("seed", self.seed)
        for name, value, least in (("views", self.views, 1), ("view_seed", self.view_seed, None)):
            if value is not None:
                whole(name, value, least)
        if not len(self.split):
            raise UsageError("the split is empty: nothing to iterate over")
        if self.strong is not None and not isinstance(self.split, Split):
            raise UsageError(f"strong= shows images with class numbers twice, not a {type(self.split).__name__}")
        self.count()

    def __len__(self) -> int:
        return self.count()

    def __iter__(self) -> Iterator[Batch]:
        return self.iterate(0)

    def view(self, epoch: int) -> int:
        """The number of the version of each image that an epoch shows; always 0 without augmentation."""
        return 0 if self.augment is None else self._number(epoch)

    def _number(self, epoch: int) -> int:
        return epoch if self.views is None else epoch % self.views

    def count(self, rank: int = 0, world: int = 1) -> int:
        """Batches that ``rank`` of ``world`` sees in an epoch."""
        if not 0 <= rank < world:
            raise UsageError(f"rank must lie in [0, {world}), not {rank}")
        total = len(self.split)
        # training ranks must take the same number of steps; evaluation must see every sample exactly once
        share = total // world if self.shuffle else len(range(rank, total, world))
        if self.drop_last and share < self.batch_size:
            raise UsageError(f"batch size {self.batch_size} is larger than the data ({share} images): no batch is left")
        if self.shuffle and not share:
            raise UsageError(f"{total} images cannot be shared by {world} ranks")
        return share // self.batch_size if self.drop_last else -(-share // self.batch_size)

    def iterate(self, epoch: int, start: int = 0, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        """The batches of an epoch, from batch ``start`` on; skipped batches are not computed.

        With several ranks each takes every ``world``-th sample of the same order, so the ranks' batches number t
        together are batch t of one process with a ``world`` times larger batch. With ``shuffle`` the remainder of the
        division is left out, and every rank sees equally many samples; without, nothing is left out or seen twice, and
        the ranks may differ by one sample (and so by one batch).

        Raises:
            UsageError: if a rank has no batch, ``rank`` is not in `[0, world)`, or another number is not whole.
        """
        whole("epoch", epoch)
        whole("start", start, least=0)
        return self._batches(epoch, range(start, self.count(rank, world)), rank, world)

    def _batches(self, epoch: int, numbers: range, rank: int, world: int) -> Iterator[Batch]:
        split = self.split
        order = self._order(epoch)
        if self.shuffle:
            order = order[: len(order) // world * world]
        order = order[rank::world]
        seed = self.seed if self.view_seed is None else self.view_seed
        keys = None if self.augment is None else sample_keys(seed, self.view(epoch), self._identity)
        other = None if self.strong is None else sample_keys(fold(seed, _STRONG), self._number(epoch), self._identity)
        for number in numbers:
            rows = order[number * self.batch_size : (number + 1) * self.batch_size]
            own = None if keys is None else keys.index_select(0, rows)
            batch = Batch(*split.batch(rows, self.augment, own), split.index.index_select(0, rows))
            if other is not None:
                second = split.batch(rows, self.strong, other.index_select(0, rows))
                pairs = zip(batch, (*second, batch.index), strict=True)
                batch = Batch(*(torch.cat(pair) for pair in pairs))
            yield batch

    def _order(self, epoch: int) -> Tensor:
        if not self.shuffle:
            return torch.arange(len(self.split), device=self.split.index.device)
        return sample_keys(fold(self.seed, _ORDER), epoch, self._identity).argsort(stable=True)

    @functools.cached_property
    def _identity(self) -> Tensor:
        """What random numbers follow from: the index; of its second, third, ... copy the index and which copy it is."""
        index = self.split.index
        in_order, order = index.sort(stable=True)
        copy = torch.empty_like(index)
        copy[order] = torch.arange(len(index), device=index.device) - torch.searchsorted(in_order, in_order)
        return torch.where(copy > 0, sample_keys(_COPY, 0, sample_keys(_COPY, 0, index) + copy), index)
