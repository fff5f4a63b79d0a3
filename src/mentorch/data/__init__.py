"""Data sets by name, on-device batches, augmentation seeded per sample, and normalisation as a view."""

from mentorch.data import dense
from mentorch.data._augment import Augment, Color, Compose, Cutout, standard, strong
from mentorch.data._batches import Batch, Batches
from mentorch.data._dataset import Dataset, Split
from mentorch.data._facts import Facts, describe
from mentorch.data._fetch import fetch
from mentorch.data._geometry import Flip, PadCrop
from mentorch.data._join import join, only
from mentorch.data._keys import below, draw, sample_keys, uniform
from mentorch.data._label_space import LabelSpace
from mentorch.data._load import load, unlabelled
from mentorch.data._normalize import Normalize
from mentorch.data._resize import Resize
from mentorch.data._sources import names

__all__ = [
    "Augment",
    "Batch",
    "Batches",
    "Color",
    "Compose",
    "Cutout",
    "Dataset",
    "Facts",
    "Flip",
    "LabelSpace",
    "Normalize",
    "PadCrop",
    "Resize",
    "Split",
    "below",
    "dense",
    "describe",
    "draw",
    "fetch",
    "join",
    "load",
    "names",
    "only",
    "sample_keys",
    "standard",
    "strong",
    "uniform",
    "unlabelled",
]
