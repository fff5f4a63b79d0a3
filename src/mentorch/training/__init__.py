"""Training: the loop, its optimisers and schedules, the teacher cache, callbacks, history, checkpoints."""

from mentorch.training._album import Album as Album
from mentorch.training._album import animate as animate
from mentorch.training._cache import OpenCache as OpenCache
from mentorch.training._cache import TeacherCache as TeacherCache
from mentorch.training._callbacks import On as On
from mentorch.training._diagnosis import agreement as agreement
from mentorch.training._diagnosis import diagnose as diagnose
from mentorch.training._evaluate import evaluate as evaluate
from mentorch.training._evaluate import evaluating as evaluating
from mentorch.training._fit import fit as fit
from mentorch.training._history import History as History
from mentorch.training._optimizers import Plateau as Plateau
from mentorch.training._training import Monitor as Monitor
from mentorch.training._training import Training as Training
