"""Comparing methods honestly: same students, same data, several seeds, one table."""

from mentorch.comparison._compare import Method as Method
from mentorch.comparison._compare import Teacher as Teacher
from mentorch.comparison._compare import compare as compare
from mentorch.comparison._compare import training_batches as training_batches
from mentorch.comparison._describe import describe_graph as describe_graph
from mentorch.comparison._environment import environment as environment
from mentorch.comparison._measure import Neighbours as Neighbours
from mentorch.comparison._measure import latency as latency
from mentorch.comparison._measure import measure as measure
from mentorch.comparison._measure import on_views as on_views
from mentorch.comparison._measure import outputs as outputs
from mentorch.comparison._peak import peak_memory as peak_memory
from mentorch.comparison._summary import interval as interval
from mentorch.comparison._summary import summarise as summarise
