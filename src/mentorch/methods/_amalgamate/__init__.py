"""Amalgamation: many specialists, one student, no labels."""

from mentorch.methods._amalgamate._calibrate import calibrate as calibrate
from mentorch.methods._amalgamate._choose import choose_teachers as choose_teachers
from mentorch.methods._amalgamate._draw import amalgamate as amalgamate
from mentorch.methods._amalgamate._ensemble import JointEnsemble as JointEnsemble
from mentorch.methods._amalgamate._judge import accuracy_by_task as accuracy_by_task
from mentorch.methods._amalgamate._layerwise import LayerwiseStage as LayerwiseStage
from mentorch.methods._amalgamate._layerwise import layerwise as layerwise
from mentorch.methods._amalgamate._recombine import Round as Round
from mentorch.methods._amalgamate._recombine import recombine as recombine
from mentorch.methods._amalgamate._spaces import Spaces as Spaces
from mentorch.methods._amalgamate._spaces import common_space as common_space
from mentorch.methods._amalgamate._usefulness import usefulness as usefulness
