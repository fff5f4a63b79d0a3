import functools

import pytest
import torch

from mentorch import UsageError, losses, networks
from mentorch.data import LabelSpace, Normalize
from mentorch.methods import JointEnsemble, amalgamate
from mentorch.networks import cost

SPACE = LabelSpace.union({"a": "uvw", "b": "wx"})
IMAGES = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("target", ["joint", "confidence", "energy", "standardized"])
def test_a_student_that_says_the_same_has_nothing_to_learn(target: str):
    torch.manual_seed(0)
    teachers = {"a": networks.cnn_tiny(3).eval(), "b": networks.cnn_small(2).eval()}
    kd = functools.partial(losses.Concatenated, target=target)
    views = {"a": Normalize((0.5,) * 3, (0.5,) * 3)}
    together = JointEnsemble(teachers, SPACE, kd=kd, views=views)
    said = together(IMAGES)
    torch.testing.assert_close(said.exp().sum(1), torch.ones(3))
    graph = amalgamate(teachers, networks.cnn_tiny(4), space=SPACE, kd=kd, views=views, example=(IMAGES,))
    logits = [graph.predict(name, IMAGES) for name in teachers]
    torch.testing.assert_close(graph.edges[0].loss(said, *logits), torch.zeros(3), rtol=0, atol=1e-6)


def test_it_costs_what_its_members_cost():
    teachers = {"a": networks.cnn_tiny(3), "b": networks.cnn_small(2)}
    found = cost(JointEnsemble(teachers, SPACE), IMAGES[:1])
    each = [cost(network, IMAGES[:1]) for network in teachers.values()]
    assert (found.parameters, found.macs) == tuple(map(sum, zip(*((c.parameters, c.macs) for c in each), strict=True)))


def test_views_with_tensors_go_where_it_goes():
    torch.manual_seed(0)
    teachers = {"a": networks.cnn_tiny(3), "b": networks.cnn_small(2)}
    views = {"a": Normalize((0.5,) * 3, (0.5,) * 3), "b": lambda x: 1 - x}
    together = JointEnsemble(teachers, SPACE, views=views).double().eval()
    assert views["a"].mean.dtype == torch.float64
    images = IMAGES.double()
    expected = together.loss.log_target(teachers["a"](2 * images - 1), teachers["b"](1 - images))
    torch.testing.assert_close(together(images), expected)


def test_wrong_use_is_named():
    two = {"a": networks.cnn_tiny(3), "b": networks.cnn_small(2)}
    with pytest.raises(UsageError, match="at least two teachers"):
        JointEnsemble({"a": networks.cnn_tiny(3)}, SPACE)
    with pytest.raises(
        UsageError, match=r"^the classes of teacher 'c' are unknown: the label space has parts for a, b$"
    ):
        JointEnsemble({"a": two["a"], "c": two["b"]}, SPACE)
    with pytest.raises(UsageError, match=r"teacher 1 shows \[3, 4\], its block has 2 classes"):
        JointEnsemble({"a": two["a"], "b": networks.cnn_small(4)}, SPACE)(IMAGES)
