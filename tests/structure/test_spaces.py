import math
from fractions import Fraction

import torch

from mentorch.networks import build, cost
from mentorch.structure import Axis, plan
from mentorch.structure._spaces import signatures

IMAGE = torch.zeros(1, 3, 8, 8)


def test_signatures_tell_groups_and_repetitions_apart():
    axes = {("a", 0): Axis((0, 1, 2, 3), 2), ("b", 1): Axis((0, 0, 1, 2, 3))}
    classes = list(signatures(axes).values())
    assert classes == [[0], [1], [2, 3]]


def test_widths_round_up_to_steps():
    p = plan(build("shufflenet_v1", num_classes=3), IMAGE)
    steps = [space.multiple for space in p.spaces]
    widths = p.widths(Fraction(1, 2), steps)
    for space, step in zip(p.spaces, steps, strict=True):
        assert widths[space.name] == (space.size if space.pinned else step * math.ceil(space.size / 2 / step))


def test_cost_is_what_is_measured():
    for name in ("resnet20", "shufflenet_v1", "mobilenet_v2"):
        network = build(name, num_classes=3)
        p, measured = plan(network, IMAGE), cost(network, IMAGE)
        assert p.cost(p.shapes) == (measured.parameters, measured.macs)
        assert p.shapes_at({space.name: space.size for space in p.spaces}) == p.shapes
