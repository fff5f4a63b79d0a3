"""The procedural data set."""

import torch
from torch import Tensor

from mentorch._errors import UsageError
from mentorch.data._keys import fold, sample_keys
from mentorch.data._numbers import whole
from mentorch.data.dense._camera import Camera
from mentorch.data.dense._geometry import both
from mentorch.data.dense._render import FIELD, render
from mentorch.data.dense._scene import CLASSES
from mentorch.data.dense._split import DenseDataset, DenseSplit

_RAYS = 2**18  # of the finest grid rendered at once, to bound memory


def scenes(
    size: int | tuple[int, int] = 64,
    *,
    train: int = 2000,
    validation: int = 200,
    test: int = 500,
    seed: int = 0,
    samples: int = 2,
    device: torch.device | str = "cpu",
) -> DenseDataset:
    """Rendered rooms with exact segmentation, depth and surface normals; see `render` for what they show.

    Scene i of a split is a function of (seed, split, i) alone, whatever the sizes of the splits, the device (up to
    rounding) and who else is rendered with it. For data without end, call `render` on keys of your own.

    Args:
        size: side of the images, or height and width.
        train, validation, test: scenes in each split.
        seed: of all scenes.
        samples: rays per pixel and axis.
        device: that renders, and holds the data.

    Raises:
        UsageError: if a size or a number is below one or not whole.
    """
    shape = both(size)
    counts = (train, validation, test)
    if min(whole("scenes in a split", count) for count in counts) < 1:
        raise UsageError(f"scenes: every split needs at least one scene, not {counts}")
    whole("samples", samples, least=1)
    whole("seed", seed)
    parts = [
        _split(sample_keys(fold(seed, number), 0, torch.arange(count, device=device)), shape, samples)
        for number, count in enumerate(counts)
    ]
    name, camera = f"scenes:{shape[0]}x{shape[1]}", Camera.of(FIELD, shape)
    note = "rendered scenes, not photographs"
    return DenseDataset.of(
        name, train=parts[0], validation=parts[1], test=parts[2], classes=CLASSES, camera=camera, note=note
    )


def _split(keys: Tensor, shape: tuple[int, int], samples: int) -> DenseSplit:
    chunk = max(1, _RAYS // (shape[0] * shape[1] * samples**2))
    parts = [render(part, shape, samples=samples) for part in torch.split(keys, chunk)]
    images = torch.cat([pictures for pictures, _ in parts])
    targets = {name: torch.cat([found[name] for _, found in parts]) for name in parts[0][1]}
    return DenseSplit(images, targets, torch.arange(len(keys), device=keys.device))
