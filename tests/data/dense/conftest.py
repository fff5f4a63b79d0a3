"""Tiny data sets of dense targets, in the ways in which the known ones lie on disk."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture
def write_picture() -> Callable[[Path, np.ndarray], Path]:
    """Write an array as an image file or, where the name ends in .npy, as an array."""
    from PIL import Image

    def write(path: Path, values: np.ndarray) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".npy":
            np.save(path, values, allow_pickle=False)
        else:
            Image.fromarray(values).save(path)
        return path

    return write


@pytest.fixture
def shared_data() -> Path:
    """Folder with sample photographs, from the environment."""
    folder = os.environ.get("MENTORCH_SHARED_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("MENTORCH_SHARED_DATA names no folder of sample photographs")
    return Path(folder)
