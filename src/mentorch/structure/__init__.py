"""Channels: which belong together, which to keep, and the smaller network that is left.

    p = plan(network, example)               which channels of which tensors belong together
    s = split(p, keep=0.5)                   a fit and a reset part; or prune(network, p, by="l1", to=0.5)
    reset(network, s, seed=generation)       draw the reset part anew
    small = slim(network, s)                 the network that is left
    small = resize(build(...), s.recipe())   the same shapes again, from the builder and a JSON recipe
    joint = merge([one, another], example)   networks of one architecture side by side

One plan is behind all of it, so that a mask and a smaller network cannot disagree.
"""

from mentorch.structure._difference import recipe_between
from mentorch.structure._forget import larger_weights, later_layers, split_by
from mentorch.structure._layers import SplitConv2d, SplitLinear
from mentorch.structure._merge import merge
from mentorch.structure._plan import plan
from mentorch.structure._prune import prune
from mentorch.structure._reset import reset, uniform, zero
from mentorch.structure._resize import resize
from mentorch.structure._scores import scores
from mentorch.structure._slim import slim
from mentorch.structure._spaces import Axis, Plan, Space
from mentorch.structure._split import Split, split

__all__ = [
    "Axis",
    "Plan",
    "Space",
    "Split",
    "SplitConv2d",
    "SplitLinear",
    "larger_weights",
    "later_layers",
    "merge",
    "plan",
    "prune",
    "recipe_between",
    "reset",
    "resize",
    "scores",
    "slim",
    "split",
    "split_by",
    "uniform",
    "zero",
]
