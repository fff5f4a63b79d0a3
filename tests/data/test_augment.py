import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mentorch import UsageError
from mentorch.data import Color, Compose, Cutout, Dataset, Flip, PadCrop, Split, sample_keys, standard, strong

EVERY = [
    PadCrop(2),
    Flip(),
    Cutout(5),
    Color(),
    Compose((PadCrop(2), Flip(), Cutout(3), Color(), Flip(), PadCrop(1))),
]
POOL = torch.randint(0, 256, (64, 3, 11, 11), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("augment", EVERY, ids=lambda a: type(a).__name__)
@given(rows=st.lists(st.integers(0, 63), min_size=1, max_size=64), floats=st.booleans())
def test_what_happens_to_a_sample_depends_on_its_key_alone(augment, rows, floats):
    pool = POOL.float() / 255 if floats else POOL
    key = sample_keys(5, 3, torch.arange(64))
    chosen = torch.tensor(rows)
    whole = augment(pool, key)
    assert torch.equal(augment(pool[chosen], key[chosen]), whole[chosen])
    assert torch.equal(augment(pool[rows[0] : rows[0] + 1], key[rows[0] : rows[0] + 1])[0], whole[rows[0]])


@pytest.mark.parametrize("augment", EVERY, ids=lambda a: type(a).__name__)
def test_another_key_does_something_else_and_the_global_generator_is_left_alone(augment):
    state = torch.get_rng_state()
    first = augment(POOL, sample_keys(0, 0, torch.arange(64)))
    assert torch.equal(first, augment(POOL, sample_keys(0, 0, torch.arange(64))))
    for seed, epoch in ((1, 0), (0, 1)):
        other = augment(POOL, sample_keys(seed, epoch, torch.arange(64)))
        assert (first != other).flatten(1).any(dim=1).sum() > 16
    assert torch.equal(torch.get_rng_state(), state)


@given(st.integers(1, 14), st.integers(0, 100))
def test_cutout_fills_one_clipped_square(size, seed):
    images = torch.full((8, 3, 12, 12), 255, dtype=torch.uint8)
    holes = Cutout(size, fill=0.2)(images, sample_keys(seed, 0, torch.arange(8))) == 51
    assert torch.equal(holes.any(dim=1), holes.all(dim=1))  # the same in every channel
    rows, columns = holes[:, 0].any(dim=2), holes[:, 0].any(dim=1)
    assert torch.equal(holes[:, 0], rows[:, :, None] & columns[:, None, :])
    for line in (*rows, *columns):
        places = line.nonzero().flatten()
        assert 1 <= len(places) <= size
        assert places[-1] - places[0] + 1 == len(places)
        assert len(places) == min(size, 12) or places[0] == 0 or places[-1] == 11


def test_cutout_fills_alike_in_bytes_and_in_floats():
    key = sample_keys(0, 0, torch.arange(64))
    assert torch.equal(Cutout(4, 0.4)(POOL, key).float() / 255, Cutout(4, 0.4)(POOL.float() / 255, key))


def test_color_of_strength_zero_changes_nothing():
    assert torch.equal(Color(0, 0, 0)(POOL, sample_keys(0, 0, torch.arange(64))), POOL.float() / 255)


def test_brightness_is_one_factor_per_image():
    images = torch.full((500, 3, 2, 2), 100, dtype=torch.uint8)
    factor = Color(0.4, 0, 0)(images, sample_keys(0, 0, torch.arange(500))) / (100 / 255)
    assert (factor.flatten(1).max(dim=1).values - factor.flatten(1).min(dim=1).values).max() < 1e-5
    assert 0.6 - 1e-5 < factor.min() < 0.62
    assert 1.38 < factor.max() < 1.4 + 1e-5


def test_contrast_keeps_the_mean_grey_and_scales_the_rest():
    grey = torch.rand(40, 1, 6, 6) * 0.2 + 0.4  # far from the bounds, so nothing is clamped
    out = Color(0, 0.5, 0)(grey, sample_keys(0, 0, torch.arange(40)))
    mean = grey.mean(dim=(1, 2, 3), keepdim=True)
    torch.testing.assert_close(out.mean(dim=(1, 2, 3), keepdim=True), mean, atol=2e-5, rtol=0)
    ratio = ((out - mean) / (grey - mean)).flatten(1)
    assert (ratio.median(dim=1).values - 1).abs().max() > 0.3
    torch.testing.assert_close(
        out - mean, (grey - mean) * ratio.median(dim=1).values[:, None, None, None], atol=3e-5, rtol=0
    )


def test_saturation_keeps_the_luma_and_leaves_grey_images_alone():
    luma = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    colour = torch.rand(40, 3, 5, 5) * 0.2 + 0.4
    key = sample_keys(0, 0, torch.arange(40))
    out = Color(0, 0, 0.5)(colour, key)
    assert not torch.allclose(out, colour, atol=1e-2)
    torch.testing.assert_close((out * luma).sum(1), (colour * luma).sum(1), atol=1e-6, rtol=0)
    torch.testing.assert_close(Color(0, 0, 0.5)(colour[:, :1], key), colour[:, :1])


def test_color_stays_in_range():
    out = Color(3.0, 3.0, 3.0)(POOL, sample_keys(0, 0, torch.arange(64)))
    assert out.dtype == torch.float32
    assert out.min() >= 0
    assert out.max() <= 1


def test_two_equal_steps_draw_differently():
    key = sample_keys(0, 0, torch.arange(64))
    assert not torch.equal(Compose((Flip(), Flip()))(POOL, key), POOL)


def test_nothing_composed_is_nothing_done():
    assert torch.equal(Compose(())(POOL, sample_keys(0, 0, torch.arange(64))), POOL)


@pytest.mark.parametrize(
    ("size", "mirror", "steps"),
    [
        (32, True, (PadCrop(4), Flip())),
        (28, False, (PadCrop(3),)),
        (8, False, (PadCrop(1),)),
        (4, True, (PadCrop(1), Flip())),
    ],
)
def test_standard_pads_an_eighth_and_mirrors_where_it_may(size, mirror, steps):
    split = Split(torch.zeros(2, 1, size, size, dtype=torch.uint8), torch.tensor([0, 1]), torch.tensor([0, 1]))
    data = Dataset.of("mine", train=split, validation=split, test=split, classes=("a", "b"), mirror=mirror)
    assert standard(data) == Compose(steps)
    assert strong(data) == Compose((Compose(steps), Color(), Cutout(size // 2, fill=0.5)))


@pytest.mark.parametrize("make", [lambda: Cutout(0), lambda: Cutout(3, 1.5), lambda: Color(-0.1)])
def test_impossible_options_are_refused(make):
    with pytest.raises(UsageError, match="must"):
        make()
