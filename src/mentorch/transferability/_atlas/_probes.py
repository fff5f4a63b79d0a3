"""Images that every network of a zoo is asked about."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mentorch._errors import UsageError
from mentorch.data import Dataset, Resize


def probes(datasets: Sequence[Dataset], count: int = 128, *, size: int | None = None) -> Tensor:
    """Validation images of several data sets in one frame, as many of each: RGB in [0, 1], shape ``[P, 3, S, S]``.

    Gray images are repeated for the three channels. The images are evenly spaced in the split, so they are the same
    every time; labels are not looked at.

    Args:
        datasets: one or more.
        count: images, P, of all data sets together; the first ones give one more where that does not divide.
        size: side, S, that of the largest images unless given.

    Raises:
        UsageError: if there is no data set, or one has too few images.
    """
    if not datasets:
        raise UsageError("probes: name at least one data set")
    resize = Resize(size or max(dataset.image_size for dataset in datasets))
    shares = [count // len(datasets) + (i < count % len(datasets)) for i in range(len(datasets))]
    found = []
    for dataset, share in zip(datasets, shares, strict=True):
        images = dataset.validation.images
        if share > len(images):
            raise UsageError(f"probes: {dataset.name!r} has {len(images)} validation images, {share} are asked for")
        chosen = images[torch.arange(share) * len(images) // max(1, share)].float() / 255
        if chosen.shape[1] not in (1, 3):
            raise UsageError(f"probes: images of {dataset.name!r} have {chosen.shape[1]} channels, not 1 or 3")
        found.append(resize(chosen.expand(-1, 3, -1, -1)))
    return torch.cat(found).clamp(0, 1)
