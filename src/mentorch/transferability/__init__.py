"""Which network should teach? Scores of features on the target's samples, and similarities of whole networks."""

import sys
from collections.abc import Mapping
from types import MappingProxyType

from mentorch.transferability._atlas import Atlas as Atlas
from mentorch.transferability._atlas import atlas as atlas
from mentorch.transferability._atlas import probes as probes
from mentorch.transferability._atlas import write_atlas as write_atlas
from mentorch.transferability._checks import Uninformative as Uninformative
from mentorch.transferability._cka import cka as cka
from mentorch.transferability._depara import Similarity as Similarity
from mentorch.transferability._depara import compare as compare
from mentorch.transferability._depara import depara as depara
from mentorch.transferability._depara import layer_similarities as layer_similarities
from mentorch.transferability._embedding import Embeddings as Embeddings
from mentorch.transferability._embedding import Frame as Frame
from mentorch.transferability._embedding import nearest as nearest
from mentorch.transferability._embedding import similarities as similarities
from mentorch.transferability._engines import Engine as Engine
from mentorch.transferability._engines import here as here
from mentorch.transferability._evaluation import Band as Band
from mentorch.transferability._evaluation import null_band as null_band
from mentorch.transferability._evaluation import pearson as pearson
from mentorch.transferability._evaluation import precision_at as precision_at
from mentorch.transferability._evaluation import recall_at as recall_at
from mentorch.transferability._evaluation import regret as regret
from mentorch.transferability._evaluation import static_baseline as static_baseline
from mentorch.transferability._evaluation import weighted_tau as weighted_tau
from mentorch.transferability._explain import Reading as Reading
from mentorch.transferability._explain import explain as explain
from mentorch.transferability._explain import fingerprint as fingerprint
from mentorch.transferability._features import Features as Features
from mentorch.transferability._gbc import gbc as gbc
from mentorch.transferability._h_score import h_score as h_score
from mentorch.transferability._h_score import regularized_h_score as regularized_h_score
from mentorch.transferability._info import ScoreInfo as ScoreInfo
from mentorch.transferability._knn import knn as knn
from mentorch.transferability._leep import leep as leep
from mentorch.transferability._lens import LAYER_SELECTION as LAYER_SELECTION
from mentorch.transferability._lens import MODEL_SELECTION as MODEL_SELECTION
from mentorch.transferability._lens import Lens as Lens
from mentorch.transferability._lens import average as average
from mentorch.transferability._lens import epsilon_ratio as epsilon_ratio
from mentorch.transferability._lens import gradient_x_input as gradient_x_input
from mentorch.transferability._lens import norm as norm
from mentorch.transferability._lens import saliency as saliency
from mentorch.transferability._lens import total as total
from mentorch.transferability._linear_probe import linear_probe as linear_probe
from mentorch.transferability._logme import logme as logme
from mentorch.transferability._nce import nce as nce
from mentorch.transferability._nleep import nleep as nleep
from mentorch.transferability._observe import Observation as Observation
from mentorch.transferability._observe import observe as observe
from mentorch.transferability._parc import parc as parc
from mentorch.transferability._processes import in_processes as in_processes
from mentorch.transferability._rank import rank as rank
from mentorch.transferability._ranking import Ranking as Ranking
from mentorch.transferability._ranking import Row as Row
from mentorch.transferability._ray import on_ray as on_ray
from mentorch.transferability._ridge import ridge as ridge
from mentorch.transferability._rsa import rsa as rsa
from mentorch.transferability._sfda import sfda as sfda
from mentorch.transferability._store import Store as Store
from mentorch.transferability._transrate import transrate as transrate


def catalogue() -> Mapping[str, ScoreInfo]:
    """Facts about every score exported here, by name; each states them beside its formula.

    >>> sorted(catalogue()["logme"].invariances)
    ['names', 'rotation', 'scale']
    """
    files = sorted({thing.__module__ for thing in globals().values() if callable(thing)})
    infos = [info for file in files for info in getattr(sys.modules[file], "INFO", ())]
    return MappingProxyType({info.name: info for info in sorted(infos, key=lambda info: info.name)})
