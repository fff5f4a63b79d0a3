"""Methods: functions that draw a graph. What they return is an ordinary :class:`mentorch.Graph`."""

from mentorch.methods._distill import distill as distill
from mentorch.methods._selective import MeanOfTeachers as MeanOfTeachers
from mentorch.methods._selective import WinnerTakesAll as WinnerTakesAll
from mentorch.methods._selective import mean_of_teachers as mean_of_teachers
from mentorch.methods._selective import one_copy_each as one_copy_each
from mentorch.methods._supervise import supervise as supervise
