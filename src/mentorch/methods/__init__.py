"""Methods: functions that draw a graph. What they return is an ordinary :class:`mentorch.Graph`."""

from mentorch.methods._distill import distill as distill
from mentorch.methods._generations import Ensemble as Ensemble
from mentorch.methods._generations import Generation as Generation
from mentorch.methods._generations import assistants as assistants
from mentorch.methods._generations import born_again as born_again
from mentorch.methods._presets import GATES as GATES
from mentorch.methods._presets import chain as chain
from mentorch.methods._presets import from_matrix as from_matrix
from mentorch.methods._presets import full as full
from mentorch.methods._presets import independent as independent
from mentorch.methods._presets import mutual as mutual
from mentorch.methods._presets import to_matrix as to_matrix
from mentorch.methods._selective import MeanOfTeachers as MeanOfTeachers
from mentorch.methods._selective import WinnerTakesAll as WinnerTakesAll
from mentorch.methods._selective import mean_of_teachers as mean_of_teachers
from mentorch.methods._selective import one_copy_each as one_copy_each
from mentorch.methods._self_distill import self_distill as self_distill
from mentorch.methods._supervise import supervise as supervise
