"""Methods that train a network, change its structure or forget a part of it, and train it again."""

from mentorch.methods._structural._evolve import Evolved as Evolved
from mentorch.methods._structural._evolve import evolve as evolve
from mentorch.methods._structural._slim_down import Slimmed as Slimmed
from mentorch.methods._structural._slim_down import slim_down as slim_down
