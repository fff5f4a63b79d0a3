import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from mentorch import UsageError
from mentorch.data import Compose, Flip, PadCrop, sample_keys
from mentorch.data._geometry import warp


def coordinate_grid(count: int, size: int) -> torch.Tensor:
    """Images whose pixels say where they are: channels row + 1 and column + 1; black means outside."""
    row = torch.arange(1, size + 1, dtype=torch.uint8)
    return torch.stack([row[:, None].expand(size, size), row[None, :].expand(size, size)]).expand(count, 2, size, size)


def crop_by_hand(image: torch.Tensor, padding: int, down: int, right: int) -> torch.Tensor:
    height, width = image.shape[-2:]
    padded = F.pad(image, (padding,) * 4)
    return padded[:, padding + down : padding + down + height, padding + right : padding + right + width]


@given(st.integers(0, 5), st.integers(0, 50))
def test_a_crop_is_a_window_of_the_padded_image(padding, seed):
    images = torch.randint(0, 256, (6, 3, 9, 9), dtype=torch.uint8)
    cropped = PadCrop(padding)(images, sample_keys(seed, 0, torch.arange(6)))
    for before, after in zip(images, cropped, strict=True):
        shifts = range(-padding, padding + 1)
        windows = [crop_by_hand(before, padding, down, right) for down in shifts for right in shifts]
        assert any(torch.equal(after, window) for window in windows)


def test_crop_places_are_uniform_and_rows_and_columns_independent():
    size, padding, count = 16, 2, 25_000
    key = sample_keys(0, 0, torch.arange(count))
    grid = coordinate_grid(1, size).expand(count, 2, size, size)
    centre = PadCrop(padding)(grid, key)[:, :, size // 2, size // 2].long() - size // 2 - 1  # [N, 2], shifts
    cells = (centre[:, 0] + padding) * 5 + centre[:, 1] + padding
    counts = cells.bincount(minlength=25).double()
    assert (counts - 1000).abs().max() < 5 * (count * 24 / 625) ** 0.5


def test_a_flip_mirrors_columns_and_leaves_rows():
    grid = coordinate_grid(400, 7)
    flipped = Flip()(grid, sample_keys(0, 0, torch.arange(400)))
    mirrored = (flipped[:, 1, 0, 0] == 7).nonzero().flatten()
    kept = (flipped[:, 1, 0, 0] == 1).nonzero().flatten()
    assert len(mirrored) + len(kept) == 400
    assert 150 < len(mirrored) < 250
    assert torch.equal(flipped[mirrored], grid[mirrored].flip(3))
    assert torch.equal(flipped[kept], grid[kept])


@pytest.mark.parametrize(("probability", "mirrored"), [(0.0, False), (1.0, True)])
def test_certain_flips(probability, mirrored):
    grid = coordinate_grid(20, 5)
    out = Flip(probability)(grid, sample_keys(0, 0, torch.arange(20)))
    assert torch.equal(out, grid.flip(3) if mirrored else grid)


@given(st.integers(0, 1000))
def test_crop_and_flip_in_one_gather_are_crop_then_flip(seed):
    images = torch.randint(0, 256, (5, 3, 8, 8), dtype=torch.uint8)
    first, second = (sample_keys(seed, e, torch.arange(5)) for e in (0, 1))
    both = warp(images, [(PadCrop(3), first), (Flip(), second)])
    assert torch.equal(both, Flip()(PadCrop(3)(images, first), second))
    twice = warp(images, [(PadCrop(3), first), (Flip(), second), (PadCrop(3), second)])
    assert torch.equal(twice, PadCrop(3)(both, second))  # what the first crop cut off does not come back


def test_two_tensors_move_together():
    """The same keys move an image and a map of another dtype alike, pixel by pixel."""
    grid = coordinate_grid(50, 12)
    key = sample_keys(4, 2, torch.arange(50))
    augment = Compose((PadCrop(3), Flip()))
    assert torch.equal(augment(grid, key).float(), augment(grid.float(), key))


def test_the_input_is_not_changed_and_need_not_be_square_or_contiguous():
    images = torch.randint(0, 256, (4, 6, 10, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
    before = images.clone()
    out = Compose((PadCrop(2), Flip()))(images, sample_keys(0, 0, torch.arange(4)))
    assert out.shape == (4, 3, 6, 10)
    assert torch.equal(images, before)


@pytest.mark.parametrize("make", [lambda: PadCrop(-1), lambda: PadCrop(1.5), lambda: Flip(1.5), lambda: Flip(-0.1)])
def test_impossible_options_are_refused(make):
    with pytest.raises(UsageError, match="must"):
        make()
