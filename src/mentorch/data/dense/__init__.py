"""Data for dense prediction: segmentation, depth and surface normals, augmented together with their images."""

from mentorch.data.dense._camera import Camera, normals_from_depth
from mentorch.data.dense._geometry import Crop, Flip, Geometry, Rotate, Zoom
from mentorch.data.dense._load import load
from mentorch.data.dense._paint import class_colours, paint
from mentorch.data.dense._placement import Placement
from mentorch.data.dense._render import render
from mentorch.data.dense._scenes import scenes
from mentorch.data.dense._sheet import sheet
from mentorch.data.dense._split import IGNORE, DenseDataset, DenseSplit
from mentorch.data.dense._together import ImagesOnly, Resize, Together, resize, standard

__all__ = [
    "IGNORE",
    "Camera",
    "Crop",
    "DenseDataset",
    "DenseSplit",
    "Flip",
    "Geometry",
    "ImagesOnly",
    "Placement",
    "Resize",
    "Rotate",
    "Together",
    "Zoom",
    "class_colours",
    "load",
    "normals_from_depth",
    "paint",
    "render",
    "resize",
    "scenes",
    "sheet",
    "standard",
]
