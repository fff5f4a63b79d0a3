"""Transfer losses: ``loss(student, *sources)``, one value per sample where one exists. One paper, one file."""

import dataclasses
import sys
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from mentorch._errors import UsageError
from mentorch.losses._ab import ab as ab
from mentorch.losses._attention import attention as attention
from mentorch.losses._cat import cat as cat
from mentorch.losses._common_features import CommonFeatures as CommonFeatures
from mentorch.losses._common_features import mmd as mmd
from mentorch.losses._concatenated import Concatenated as Concatenated
from mentorch.losses._correlation import Correlation as Correlation
from mentorch.losses._crd import CRD as CRD
from mentorch.losses._cross_entropy import cross_entropy as cross_entropy
from mentorch.losses._dense import berhu as berhu
from mentorch.losses._dense import depth_l1 as depth_l1
from mentorch.losses._dense import depth_l2 as depth_l2
from mentorch.losses._dense import normal_cosine as normal_cosine
from mentorch.losses._dense import scale_invariant as scale_invariant
from mentorch.losses._dense_segmentation import pixel_kd as pixel_kd
from mentorch.losses._dist import dist as dist
from mentorch.losses._dkd import dkd as dkd
from mentorch.losses._factor import Factor as Factor
from mentorch.losses._fsp import fsp as fsp
from mentorch.losses._hint import hint as hint
from mentorch.losses._info import LossInfo as LossInfo
from mentorch.losses._info import describe as _describe
from mentorch.losses._info import layers as _layers
from mentorch.losses._kd import kd as kd
from mentorch.losses._layerwise import Layerwise as Layerwise
from mentorch.losses._maps import OnMaps as OnMaps
from mentorch.losses._mlkd import mlkd as mlkd
from mentorch.losses._nst import nst as nst
from mentorch.losses._ofa import OFA as OFA
from mentorch.losses._ofd import OFD as OFD
from mentorch.losses._options import OptionInfo as OptionInfo
from mentorch.losses._options import options as options
from mentorch.losses._pkt import pkt as pkt
from mentorch.losses._pkt import pkt_supervised as pkt_supervised
from mentorch.losses._regressor import Regressor as Regressor
from mentorch.losses._review import Review as Review
from mentorch.losses._rkd import rkd as rkd
from mentorch.losses._similarity import similarity as similarity
from mentorch.losses._simkd import SimKD as SimKD
from mentorch.losses._standardized import standardized as standardized
from mentorch.losses._svd import svd as svd
from mentorch.losses._vid import VID as VID
from mentorch.losses._where_correct import where_confident as where_confident
from mentorch.losses._where_correct import where_correct as where_correct


def catalogue() -> Mapping[str, LossInfo]:
    """Facts about every loss exported here, by name: what it reads, its kind, its published weight.

    Each loss states them beside its formula, so that a new loss is one file and one line above.

    >>> catalogue()["pkt"].kind, catalogue()["pkt"].weight
    ('row', 468.75)
    """
    files = sorted({thing.__module__ for thing in globals().values() if callable(thing)})
    infos = [info for file in files for info in getattr(sys.modules[file], "INFO", ())]
    return MappingProxyType({info.name: info for info in infos})


def about(loss: Callable[..., Any]) -> LossInfo:
    """The facts about a loss, also under bound options and wrappers, for a class and for what it made.

    >>> import functools
    >>> about(where_correct(functools.partial(kd, temperature=2.0))).also
    ('labels',)
    >>> about(standardized(kd)).weight  # as published with it
    9.0

    Raises:
        UsageError: if it is not in the catalogue.
    """
    *wrappers, function = _layers(loss)
    for info in catalogue().values():
        if function is info.function or (isinstance(info.function, type) and isinstance(function, info.function)):
            also = [source for wrapper in reversed(wrappers) for source in getattr(wrapper, "also", ())]
            published = (getattr(wrapper, "published_weights", {}).get(info.name) for wrapper in wrappers)
            weight = next((found for found in published if found is not None), info.weight)
            return dataclasses.replace(info, also=tuple(also), weight=weight)
    raise UsageError(f"{_describe(loss)} is not in mentorch.losses: draw its Edge yourself")
