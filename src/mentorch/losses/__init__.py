"""Transfer losses: ``loss(student, *sources)``, one value per sample where one exists. One paper, one file."""

import sys
from collections.abc import Mapping
from types import MappingProxyType

from mentorch.losses._attention import attention as attention
from mentorch.losses._cross_entropy import cross_entropy as cross_entropy
from mentorch.losses._dkd import dkd as dkd
from mentorch.losses._hint import hint as hint
from mentorch.losses._info import LossInfo as LossInfo
from mentorch.losses._kd import kd as kd
from mentorch.losses._pkt import pkt as pkt
from mentorch.losses._pkt import pkt_supervised as pkt_supervised
from mentorch.losses._regressor import Regressor as Regressor


def catalogue() -> Mapping[str, LossInfo]:
    """Facts about every loss exported here, by name: what it reads, its kind, its published weight.

    Each loss states them beside its formula, so that a new loss is one file and one line above.

    >>> catalogue()["pkt"].kind, catalogue()["pkt"].weight
    ('row', 468.75)
    """
    files = sorted({thing.__module__ for thing in globals().values() if callable(thing)})
    infos = [info for file in files for info in getattr(sys.modules[file], "INFO", ())]
    return MappingProxyType({info.name: info for info in infos})
