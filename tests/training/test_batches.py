"""Any iterable of batches: what counts as one, how many there are, and walking from the middle."""

from collections import UserDict
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, DistributedSampler, IterableDataset, WeightedRandomSampler

from mentorch import UsageError
from mentorch.data import Batches, Split
from mentorch.training._batches import Batch, as_batch, count, generators, samples_in, to_device, walk

X, Y, I = torch.randn(3, 4), torch.tensor([0, 1, 2]), torch.tensor([7, 8, 9])  # noqa: E741

IMAGE, DEPTH = {"image": X}, {"depth": Y}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (X, (X, None, None)),
        ([X], (X, None, None)),
        ((X, Y), (X, Y, None)),
        ([X, Y, I], (X, Y, I)),
        ({"inputs": X}, (X, None, None)),
        (UserDict(index=I, inputs=X, labels=Y), (X, Y, I)),
        ((IMAGE, DEPTH), (IMAGE, DEPTH, None)),
        (Batch(X, Y), (X, Y, None)),
    ],
)
def test_what_is_a_batch(value: Any, expected: tuple[Any, ...]) -> None:
    batch = as_batch(value)
    assert all(mine is theirs for mine, theirs in zip(batch, expected, strict=True))
    assert samples_in(batch) == 3


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ((), "got a tuple of 0"),
        ((X, Y, I, X), "got a tuple of 4"),
        ({"images": X}, "got a dict"),
        ("abc", "got a str"),
        (3, "got a int"),
        (None, "got a NoneType"),
    ],
)
def test_what_is_no_batch(value: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        as_batch(value)


def test_samples_of_nested_inputs_and_of_nothing() -> None:
    assert samples_in(Batch({"scale": torch.tensor(2.0), "image": X})) == 3
    assert samples_in(Batch(None, Y)) == 3
    assert samples_in(Batch("text")) == 0


def test_samples_where_not_every_tensor_has_one_row_for_each() -> None:
    inputs = {"scale": torch.ones(1), "image": X}
    assert samples_in(Batch(inputs)) == 3
    assert samples_in(Batch({"table": torch.ones(9, 2), "image": X}, Y)) == 3
    assert samples_in(Batch(inputs, {"weight": torch.ones(1), "class": Y})) == 3
    assert samples_in(Batch({"table": torch.ones(9, 2)}, torch.ones(9), torch.arange(3))) == 3


def split(samples: int) -> Split:
    return Split(torch.zeros(samples, 1, 2, 2, dtype=torch.uint8), torch.arange(samples), torch.arange(samples))


class Endless:
    def __iter__(self) -> Iterator[torch.Tensor]:
        while True:
            yield X


def test_number_of_batches() -> None:
    assert count([X, X], None, "train") == 2
    assert count([X, X], 5, "train") == 5
    assert count(Endless(), 4, "train") == 4
    with pytest.raises(UsageError, match="train has no length: pass steps_per_epoch="):
        count(Endless(), None, "train")
    for empty, steps in (([], None), (DataLoader([X], batch_size=2, drop_last=True), None), ([X], 0)):
        with pytest.raises(UsageError, match="train gives no batch"):
            count(empty, steps, "train")


@given(
    samples=st.integers(4, 40), size=st.integers(1, 5), world=st.integers(1, 4), shuffle=st.booleans(),
    drop=st.booleans(),
)  # fmt: skip
def test_every_process_has_as_many_batches_as_counted(
    samples: int, size: int, world: int, shuffle: bool, drop: bool
) -> None:
    if drop and samples // world < size:
        return
    data = Batches(split(samples), size, shuffle=shuffle, drop_last=drop)
    number = count(data, None, "train", world)
    walked = [list(walk(data, 0, 0, number, rank, world)) for rank in range(world)]
    assert {len(batches) for batches in walked} == {number}
    seen = torch.cat([batch.labels for batches in walked for batch in batches])
    assert len(seen.unique()) == len(seen)
    if not drop:
        assert len(seen) > samples - world


@given(start=st.integers(0, 6), epoch=st.integers(0, 3), shuffle=st.booleans())
def test_walking_from_the_middle_gives_the_rest(start: int, epoch: int, shuffle: bool) -> None:
    data = Batches(split(22), 4, shuffle=shuffle)
    whole = [batch.labels.tolist() for batch in walk(data, epoch, 0, 6)]
    assert [batch.labels.tolist() for batch in walk(data, epoch, start, 6)] == whole[start:]
    plain = [(X + i, Y) for i in range(6)]
    assert [batch.inputs.tolist() for batch in walk(plain, epoch, start, 6)] == [x.tolist() for x, _ in plain[start:]]


def test_no_more_than_asked_for_is_taken() -> None:
    taken = []

    class Counted:
        def __iter__(self) -> Iterator[torch.Tensor]:
            for i in range(100):
                taken.append(i)
                yield X

    assert len(list(walk(Counted(), 0, 2, 5))) == 3
    assert taken == [0, 1, 2, 3, 4]
    assert list(walk([X], 0, 3, 5)) == []


def test_whoever_listens_is_told_the_epoch() -> None:
    told: list[tuple[str, int]] = []

    class Listens:
        sampler: Any = None

        def __init__(self, name: str):
            self.name = name

        def set_epoch(self, epoch: int) -> None:
            told.append((self.name, epoch))

        def __iter__(self) -> Iterator[torch.Tensor]:
            yield X

    data = Listens("data")
    data.sampler, data.batch_sampler = Listens("sampler"), Listens("batches")  # type: ignore[attr-defined]
    list(walk(data, 3, 0, 1))
    assert told == [("data", 3), ("sampler", 3), ("batches", 3)]


def test_a_distributed_sampler_shuffles_anew_each_epoch() -> None:
    sampler = DistributedSampler(range(32), num_replicas=2, rank=0)
    loader = DataLoader(range(32), batch_size=16, sampler=sampler)
    orders = [next(walk(loader, epoch, 0, 1)).inputs.tolist() for epoch in (0, 1, 0)]
    assert orders[0] == orders[2] != orders[1]


def test_generators_of_loaders() -> None:
    one, two = torch.Generator(), torch.Generator()
    assert generators([X]) == []
    assert generators(DataLoader(range(4), shuffle=True)) == []
    assert generators(DataLoader(range(4), shuffle=True, generator=one)) == [one]
    sampler = WeightedRandomSampler([1.0, 2.0], 4, generator=two)
    assert generators(DataLoader(range(4), sampler=sampler, generator=one)) == [one, two]
    assert generators(DataLoader(range(4), batch_sampler=torch.utils.data.BatchSampler(sampler, 2, False))) == [two]


def test_a_stream_of_unknown_length() -> None:
    class Stream(IterableDataset):
        def __iter__(self) -> Iterator[int]:
            return iter(range(5))

    loader = DataLoader(Stream(), batch_size=2)
    with pytest.raises(UsageError, match="train has no length: pass steps_per_epoch="):
        count(loader, None, "train")
    assert [len(batch.inputs) for batch in walk(loader, 0, 0, 10)] == [2, 2, 1]


def test_to_device_moves_every_tensor_and_nothing_else() -> None:
    batch = Batch({"image": X, "name": "a"}, [Y], I)
    assert to_device(batch, torch.device("cpu")) is batch
    moved = to_device(batch, torch.device("meta"))
    assert isinstance(moved, Batch)
    assert moved.inputs["image"].is_meta
    assert moved.labels[0].is_meta
    assert moved.index.is_meta
    assert moved.inputs["name"] == "a"
