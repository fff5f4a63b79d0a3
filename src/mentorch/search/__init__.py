"""Searching the knowledge transfer graph: who should teach whom, and when."""

from mentorch.search._candidate import Candidate as Candidate
from mentorch.search._candidate import opens_at as opens_at
from mentorch.search._evidence import saving as saving
from mentorch.search._evidence import scores as scores
from mentorch.search._evidence import trials_until as trials_until
from mentorch.search._evidence import warm_start as warm_start
from mentorch.search._finals import contestants as contestants
from mentorch.search._finals import finals as finals
from mentorch.search._plots import plot as plot
from mentorch.search._problem import Problem as Problem
from mentorch.search._search import Trial as Trial
from mentorch.search._search import search as search
from mentorch.search._space import FORK as FORK
from mentorch.search._space import PAPER as PAPER
from mentorch.search._space import Space as Space
