import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mentorch import UsageError
from mentorch.data import Batches, Compose, Flip, PadCrop, Split, dense, sample_keys


def split(count: int = 50, offset: int = 0) -> Split:
    images = torch.randint(0, 256, (count, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return Split(images, torch.arange(count) % 7, torch.arange(count) + offset)


AUGMENT = Compose((PadCrop(2), Flip()))


def same(a, b) -> bool:
    return len(a) == len(b) and all(
        torch.equal(x, y) for p, q in zip(a, b, strict=True) for x, y in zip(p, q, strict=True)
    )


def test_a_batch_holds_inputs_labels_and_index():
    part = split()
    batch = next(iter(Batches(part, 8)))
    assert batch._fields == ("inputs", "labels", "index")
    assert torch.equal(batch.inputs, part.images[:8].float() / 255)
    assert torch.equal(batch.labels, part.labels[:8])
    assert batch.labels.dtype == batch.index.dtype == torch.int64
    inputs, labels, index = batch
    assert inputs.dtype == torch.float32
    assert labels is batch.labels
    assert index.tolist() == list(range(8))


def test_without_shuffle_the_order_is_that_of_the_split_and_nothing_is_left_out():
    batches = Batches(split(50, offset=100), 8)
    assert len(batches) == len(list(batches)) == 7
    assert torch.cat([b.index for b in batches]).tolist() == list(range(100, 150))


@given(st.integers(1, 60), st.integers(1, 60), st.booleans(), st.booleans(), st.integers(0, 3))
def test_an_epoch_is_a_permutation(count, size, shuffle, drop_last, epoch):
    if drop_last and size > count:
        size = count
    batches = Batches(split(count), size, shuffle=shuffle, drop_last=drop_last)
    seen = [b.index for b in batches.iterate(epoch)]
    assert len(seen) == len(batches)
    rows = torch.cat(seen).tolist()
    assert len(rows) == len(set(rows)) == (count // size * size if drop_last else count)
    assert all(len(rows) == size for rows in seen[:-1])


def test_order_depends_on_seed_and_epoch_only():
    def order(seed, epoch):
        return torch.cat([b.index for b in Batches(split(), 8, shuffle=True, seed=seed).iterate(epoch)]).tolist()

    assert order(0, 3) == order(0, 3)
    assert len({tuple(order(seed, epoch)) for seed in range(4) for epoch in range(4)}) == 16


def test_copies_of_a_sample_are_shuffled_and_augmented_on_their_own():
    one = Split(torch.arange(8, dtype=torch.uint8)[:, None, None, None].expand(8, 1, 2, 2), *torch.zeros(2, 8).long())
    orders = {
        tuple(order.tolist())
        for e in range(20)
        for order in [next(Batches(one, 8, shuffle=True).iterate(e))[0][:, 0, 0, 0]]
    }
    assert len(orders) == 20  # indices that are all the same

    rows = torch.cat([torch.arange(50), torch.full((50,), 7)])
    many = Batches(split().select(rows), 100, shuffle=True, augment=AUGMENT, seed=3)
    batch = next(many.iterate(1))
    places = (batch.index == 7).nonzero()[:, 0]
    assert (places.diff() > 1).sum() > 10
    assert len(batch.inputs[places].unique(dim=0)) > 10
    assert same(list(many.iterate(1)), [batch])
    # the first of them, and all others, are what they are without copies
    alone = next(Batches(split(), 50, shuffle=True, augment=AUGMENT, seed=3).iterate(1))
    shown = {tuple(image.flatten().tolist()) for image in batch.inputs}
    assert {tuple(image.flatten().tolist()) for image in alone.inputs} <= shown
    others = batch.index != 7
    assert torch.equal(batch.index[others], alone.index[alone.index != 7])
    assert torch.equal(batch.inputs[others], alone.inputs[alone.index != 7])


def test_every_place_in_the_order_is_equally_likely():
    batches = [Batches(split(10), 10, shuffle=True, seed=seed) for seed in range(40)]
    orders = torch.stack([next(b.iterate(epoch)).index for b in batches for epoch in range(50)])
    counts = torch.stack([(orders == i).sum(dim=0) for i in range(10)]).double()  # [image, place]
    assert (counts - 200).abs().max() < 5 * (2000 * 0.1 * 0.9) ** 0.5


def test_the_order_of_a_part_is_the_order_of_the_whole():
    """A sample's place relative to another is decided by their indices, not by who else is there."""
    whole, part = split(), split().select(torch.arange(0, 50, 3))
    long, short = (next(Batches(s, 50, shuffle=True, seed=2).iterate(4)).index.tolist() for s in (whole, part))
    assert [i for i in long if i % 3 == 0] == short


@given(st.integers(0, 8), st.integers(0, 5))
def test_starting_late_gives_the_same_batches_without_computing_the_skipped(start, epoch):
    calls = []

    def counting(images, key):
        calls.append(len(images))
        return AUGMENT(images, key)

    batches = Batches(split(), 8, shuffle=True, augment=counting)
    whole = list(batches.iterate(epoch))
    calls.clear()
    assert same(list(batches.iterate(epoch, start=start)), whole[start:])
    assert len(calls) == max(0, 7 - start)


@given(st.integers(1, 20), st.integers(1, 20))
def test_augmentation_does_not_depend_on_the_batch(first, second):
    def images(size, shuffle):
        batches = Batches(split(), size, shuffle=shuffle, augment=AUGMENT, seed=9).iterate(2)
        pairs = [(i, x) for b in batches for i, x in zip(b.index.tolist(), b.inputs, strict=True)]
        return torch.stack([x for _, x in sorted(pairs, key=lambda pair: pair[0])])

    assert torch.equal(images(first, True), images(second, False))


def test_augmentation_is_the_function_of_seed_epoch_and_index():
    part = split(20, offset=1000)
    batch = next(Batches(part, 20, augment=AUGMENT, seed=5).iterate(3))
    expected = AUGMENT(part.images, sample_keys(5, 3, part.index)).float() / 255
    assert torch.equal(batch.inputs, expected)
    assert not torch.equal(next(Batches(part, 20, augment=AUGMENT, seed=5).iterate(4)).inputs, expected)


def test_views_repeat_while_the_order_goes_on():
    batches = Batches(split(), 50, shuffle=True, augment=AUGMENT, views=3)
    epochs = [next(batches.iterate(epoch)) for epoch in range(7)]
    shown = [batch.inputs[batch.index.argsort()] for batch in epochs]
    for a, b in itertools.combinations(range(7), 2):
        assert torch.equal(shown[a], shown[b]) == (a % 3 == b % 3)
        assert not torch.equal(epochs[a].index, epochs[b].index)


def test_runs_with_one_view_seed_show_the_same_views_in_orders_of_their_own():
    def epoch(number, **options):
        return next(Batches(split(), 50, shuffle=True, augment=AUGMENT, **options).iterate(number))

    def shown(batch):
        return batch.inputs[batch.index.argsort()]

    first, second = epoch(2, seed=1, view_seed=7), epoch(2, seed=2, view_seed=7)
    assert torch.equal(shown(first), shown(second))
    assert not torch.equal(first.index, second.index)
    assert torch.equal(shown(first), shown(epoch(2, seed=7)))
    assert not torch.equal(shown(first), shown(epoch(2, seed=1)))
    # the seed alone means what it meant before there were two
    assert same([epoch(2, seed=1, view_seed=1)], [epoch(2, seed=1)])
    assert not torch.equal(shown(epoch(2, seed=1, view_seed=0)), shown(epoch(2, seed=1)))


@given(st.integers(0, 1000), st.integers(1, 40))
def test_the_view_of_an_epoch(epoch, views):
    assert Batches(split(), 8, augment=AUGMENT).view(epoch) == epoch
    assert Batches(split(), 8, augment=AUGMENT, views=views).view(epoch) == epoch % views
    assert Batches(split(), 8, views=views).view(epoch) == 0  # what is not augmented has one view


@given(st.integers(4, 60), st.integers(1, 4), st.integers(1, 16), st.booleans())
def test_ranks_share_the_data_without_overlap(count, world, size, shuffle):
    batches = Batches(split(count), size, shuffle=shuffle)
    ranks = [[b.index.tolist() for b in batches.iterate(1, rank=r, world=world)] for r in range(world)]
    assert [len(r) for r in ranks] == [batches.count(r, world) for r in range(world)]
    rows = [i for r in ranks for b in r for i in b]
    assert len(rows) == len(set(rows)) == (count // world * world if shuffle else count)
    shares = [sum(map(len, r)) for r in ranks]
    assert max(shares) - min(shares) <= (0 if shuffle else 1)
    # the ranks' batches number t together are batch t of one process with a larger batch
    large = [b.index.tolist() for b in Batches(split(count), size * world, shuffle=shuffle).iterate(1)]
    for number, whole in enumerate(large):
        together = {i for r in ranks if number < len(r) for i in r[number]}
        assert together <= set(whole)
        assert len(together) == len(whole) or number == len(large) - 1


def test_augmentation_does_not_depend_on_the_rank():
    batches = Batches(split(), 4, shuffle=True, augment=AUGMENT)
    alone = {i: x for b in batches.iterate(2) for i, x in zip(b.index.tolist(), b.inputs, strict=True)}
    for rank in range(3):
        for batch in batches.iterate(2, rank=rank, world=3):
            assert all(torch.equal(alone[i], x) for i, x in zip(batch.index.tolist(), batch.inputs, strict=True))


def test_iterating_leaves_the_global_generator_alone():
    state = torch.get_rng_state()
    list(Batches(split(), 8, shuffle=True, augment=AUGMENT).iterate(1))
    assert torch.equal(torch.get_rng_state(), state)


def test_a_batch_may_be_changed_without_changing_the_data():
    part = split()
    before = part.images.clone()
    for batch in Batches(part, 50):
        batch.inputs.zero_()
        batch.labels.zero_()
    assert torch.equal(part.images, before)
    assert part.labels.any()


def test_wrong_requests_are_refused():
    with pytest.raises(UsageError, match="batch size 51 is larger than the data"):
        Batches(split(), 51, drop_last=True)
    assert len(Batches(split(), 51)) == 1
    with pytest.raises(UsageError, match="empty"):
        Batches(split().select(torch.tensor([], dtype=torch.int64)), 8)
    with pytest.raises(UsageError, match="batch size must be 1 or more, not 0"):
        Batches(split(), 0)
    with pytest.raises(UsageError, match="views"):
        Batches(split(), 8, views=0)
    with pytest.raises(UsageError, match=r"rank must lie in \[0, 2\), not 2"):
        Batches(split(), 8).iterate(0, rank=2, world=2)
    with pytest.raises(UsageError, match=r"batch size 30 is larger than the data \(25"):
        Batches(split(), 30, shuffle=True, drop_last=True).iterate(0, rank=1, world=2)
    with pytest.raises(UsageError, match="3 images cannot be shared by 4 ranks"):
        Batches(split(3), 1, shuffle=True).iterate(0, rank=0, world=4)


def test_a_batch_may_hold_every_sample_in_two_views():
    part = split()
    alone = Batches(part, 8, shuffle=True, augment=AUGMENT, seed=1)
    pairs = Batches(part, 8, shuffle=True, augment=AUGMENT, seed=1, strong=AUGMENT)
    assert len(pairs) == len(alone)
    for one, both in zip(alone.iterate(2), pairs.iterate(2), strict=True):
        (weak, strong), *twice = (tensor.chunk(2) for tensor in both)
        assert torch.equal(weak, one.inputs)
        assert all(torch.equal(first, second) for first, second in twice)
        assert torch.equal(both.labels[: len(one.labels)], one.labels)
        assert not torch.equal(weak, strong)  # the same augmentation, drawn on its own


def test_the_second_view_follows_from_seed_view_and_sample():
    pairs = Batches(split(), 8, shuffle=True, strong=AUGMENT, views=2, view_seed=5)
    shown = [
        {int(i): image for batch in pairs.iterate(epoch) for i, image in zip(batch.index, batch.inputs, strict=True)}
        for epoch in range(3)
    ]
    assert all(torch.equal(shown[0][i], shown[2][i]) for i in shown[0])  # the last one kept is the strong one
    assert not all(torch.equal(shown[0][i], shown[1][i]) for i in shown[0])
    resumed = list(pairs.iterate(1, start=3))
    assert same(resumed, list(pairs.iterate(1))[3:])


def test_two_views_are_of_images_with_class_numbers():
    with pytest.raises(UsageError, match="strong= shows images with class numbers twice, not a DenseSplit"):
        Batches(dense.scenes(16, train=2, validation=1, test=1).train, 2, strong=AUGMENT)


@pytest.mark.parametrize("options", [{"batch_size": 2.5}, {"seed": 0.5}, {"views": 1.5}, {"view_seed": 0.5}])
def test_numbers_are_whole(options):
    with pytest.raises(UsageError, match=r"must be a whole number, not .*5$"):
        Batches(split(), **{"batch_size": 8, **options})


def test_epochs_and_starts_are_whole():
    with pytest.raises(UsageError, match=r"epoch must be a whole number, not 1\.5"):
        Batches(split(), 8).iterate(1.5)
    with pytest.raises(UsageError, match="start must be 0 or more, not -1"):
        Batches(split(), 8).iterate(0, start=-1)
