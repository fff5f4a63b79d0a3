import pytest
import torch

from mentorch import UsageError, losses, networks
from mentorch.data import LabelSpace, Normalize
from mentorch.methods import amalgamate, common_space

SPACE = LabelSpace.union({"a": "uvw", "b": "xy"})
IMAGES = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def graph(*features):
    torch.manual_seed(0)
    teachers = {"a": networks.cnn_small(3), "b": networks.vit_nano(2)}
    views = {"a": Normalize((0.5,) * 3, (0.2,) * 3)}
    return amalgamate(teachers, networks.cnn_tiny(5), *features, space=SPACE, views=views, example=(IMAGES,))


def test_features_and_common_space_are_those_that_the_loss_reads():
    drawn = graph(losses.CommonFeatures)
    state = {key: value.clone() for key, value in drawn.state_dict().items()}
    found = common_space(drawn, IMAGES)
    assert list(found.features) == list(found.common) == ["student", "a", "b"]
    drawn.eval()
    teacher = drawn.nodes["a"]
    maps = teacher.layer2(teacher.layer1((IMAGES - 0.5) / 0.2))
    torch.testing.assert_close(found.features["a"], maps.mean((2, 3)))
    loss = drawn.edges[1].loss
    common = loss.common(*found.features.values())
    for name, expected in zip(found.common, common, strict=True):
        torch.testing.assert_close(found.common[name], expected)
        assert not found.common[name].requires_grad
    assert all(torch.equal(value, drawn.state_dict()[key]) for key, value in state.items())


def test_without_a_common_space_there_is_nothing_to_read():
    with pytest.raises(UsageError, match=r"no edge is of losses\.CommonFeatures"):
        common_space(graph(), IMAGES)
