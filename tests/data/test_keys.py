import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mentorch.data import _keys
from mentorch.data._keys import below, draw, fold, sample_keys, uniform

MASK = (1 << 64) - 1


def splitmix(seed: int, count: int) -> list[int]:
    """The published generator, with Python's integers."""
    values = []
    for _ in range(count):
        seed = (seed + 0x9E3779B97F4A7C15) & MASK
        z = seed
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        values.append(z ^ (z >> 31))
    return values


def test_the_reference_generator_gives_its_published_numbers():
    # first outputs for seed 1234567, as listed for the C reference implementation
    assert splitmix(1234567, 3) == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@given(st.integers(0, MASK))
def test_draws_are_the_outputs_of_splitmix64(seed):
    key = torch.tensor([_keys._signed(seed)])
    assert [draw(key, n).item() & MASK for n in range(5)] == splitmix(seed, 5)


@given(st.integers(-(2**70), 2**70), st.integers(0, 10**6))
def test_the_keys_of_an_epoch_are_one_stream(seed, epoch):
    start = (fold(seed, epoch) - 0x9E3779B97F4A7C15) & MASK
    assert [k & MASK for k in sample_keys(seed, epoch, torch.arange(4)).tolist()] == splitmix(start, 4)


@given(st.lists(st.integers(0, 2**40), min_size=1, max_size=20), st.integers(0, 100), st.integers(0, 100))
def test_a_key_does_not_depend_on_its_neighbours(index, seed, epoch):
    together = sample_keys(seed, epoch, torch.tensor(index))
    alone = [sample_keys(seed, epoch, torch.tensor([i])).item() for i in index]
    assert together.tolist() == alone


def test_every_part_and_its_place_matter():
    values = {fold(*parts) for parts in [(0,), (1,), (0, 0), (0, 1), (1, 0), (1, 1), (-1,), (0, 0, 0), (2**64 + 5,)]}
    assert len(values) == 9


@pytest.mark.parametrize("vary", ["index", "epoch", "seed", "number"])
def test_draws_are_uniform_whatever_varies(vary):
    cells, one = 64, torch.tensor([5])
    values = {
        "index": lambda: uniform(sample_keys(3, 7, torch.arange(20_000)), 0),
        "epoch": lambda: torch.cat([uniform(sample_keys(3, epoch, one), 0) for epoch in range(2000)]),
        "seed": lambda: torch.cat([uniform(sample_keys(seed, 7, one), 0) for seed in range(2000)]),
        "number": lambda: torch.cat([uniform(sample_keys(3, 7, one), number) for number in range(2000)]),
    }[vary]()
    assert values.min() >= 0
    assert values.max() < 1
    observed = (values * cells).long().bincount(minlength=cells).double()
    expected = len(values) / cells
    chi2 = ((observed - expected).square() / expected).sum().item()
    assert chi2 < 63 + 5 * (2 * 63) ** 0.5  # five standard deviations of chi-square with 63 degrees of freedom


def test_successive_draws_and_neighbouring_samples_are_uncorrelated():
    key = sample_keys(0, 0, torch.arange(50_000))
    a, b = uniform(key, 0).double(), uniform(key, 1).double()
    limit = 5 / 50_000**0.5
    assert abs(torch.corrcoef(torch.stack([a, b]))[0, 1]) < limit
    assert abs(torch.corrcoef(torch.stack([a[1:], a[:-1]]))[0, 1]) < limit


def test_one_flipped_bit_of_the_index_flips_half_of_the_key():
    index = torch.arange(0, 8192, 2)
    changed = sample_keys(0, 0, index) ^ sample_keys(0, 0, index ^ 1)
    bits = torch.stack([(changed >> place) & 1 for place in range(64)]).double().mean(dim=1)
    assert (bits - 0.5).abs().max() < 5 * 0.5 / 4096**0.5


@given(st.integers(1, 2**31), st.integers(0, 1000))
def test_below_stays_below(bound, seed):
    values = below(sample_keys(seed, 0, torch.arange(200)), 0, bound)
    assert values.min() >= 0
    assert values.max() < bound


def test_below_reaches_every_value_equally_often():
    counts = below(sample_keys(1, 0, torch.arange(90_000)), 2, 9).bincount(minlength=9).double()
    assert (counts - 10_000).abs().max() < 5 * (90_000 * 8 / 81) ** 0.5
