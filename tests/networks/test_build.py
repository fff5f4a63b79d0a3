import pytest
import torch

from mentorch import networks
from mentorch._errors import UsageError
from mentorch.networks import build, names, state_hash


def test_every_name_is_the_builder_of_that_name():
    for name in names():
        if name.endswith("_karanchahal"):
            continue
        torch.manual_seed(0)
        with torch.device("meta"):
            by_name, by_builder = build(name, num_classes=4, in_channels=2), getattr(networks, name)(4, 2)
        shapes = [{k: v.shape for k, v in n.state_dict().items()} for n in (by_name, by_builder)]
        assert shapes[0] == shapes[1]


def test_names_are_sorted_and_complete():
    assert names() == sorted(names())
    wanted = "resnet8 resnet110 resnet8x4 wrn_40_2 vgg19 mobilenet_v2 shufflenet_v1 shufflenet_v2 cnn_tiny"
    assert set(wanted.split()) <= set(names())


@pytest.mark.parametrize(
    ("name", "blocks"), [("resnet26", 4), ("resnet14x4", 2), ("resnet38_karanchahal", 6), ("wrn_22_3", 3)]
)
def test_families(name, blocks):
    with torch.device("meta"):
        network = build(name, num_classes=3)
    assert len([m for m in network.layer2 if hasattr(m, "conv1")]) == blocks


def test_seeded():
    torch.manual_seed(3)
    first = state_hash(build("resnet8", num_classes=3))
    torch.manual_seed(3)
    assert state_hash(build("resnet8", num_classes=3)) == first
    assert state_hash(build("resnet8", num_classes=3)) != first


def test_options():
    network = build("resnet8", num_classes=3, options={"shortcut": "conv", "widths": [4, 8, 12], "stem": 4})
    assert network.fc.in_features == 12
    with pytest.raises(UsageError, match="unknown option of resnet8 'shortcuts': did you mean 'shortcut'"):
        build("resnet8", num_classes=3, options={"shortcuts": "conv"})
    with pytest.raises(UsageError, match="unknown option of wrn_16_2 'depth'"):
        build("wrn_16_2", num_classes=3, options={"depth": 22})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnett20", "unknown network 'resnett20': did you mean 'resnet20'"),
        ("", "unknown network ''"),
        ("resnet21", r"6n \+ 2 \(8, 14, 20, ...\), not 21"),
        ("wrn_17_2", "not 17-2"),
    ],
)
def test_unknown_names(name, message):
    with pytest.raises(UsageError, match=message):
        build(name, num_classes=3)


def test_impossible_numbers():
    with pytest.raises(UsageError, match="at least one class and one channel, not 0 and 3"):
        build("resnet8", num_classes=0)
    with pytest.raises(UsageError, match="at least one class and one channel, not 2 and -1"):
        build("resnet8", num_classes=2, in_channels=-1)
    for size in (7, (8, 4)):
        with pytest.raises(UsageError, match="at least 8x8"):
            build("resnet8", num_classes=2, image_size=size)


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        ({"num_classes": "3"}, "classes, channels and sides are whole numbers, got '3'"),
        ({"image_size": ("x", 8)}, "whole numbers, got 'x'"),
        ({"options": {"stem": "wide"}}, "resnet8 cannot be built with .*'stem': 'wide'"),
        ({"options": {"stem": 1 << 50}}, "resnet8 cannot be built with"),
    ],
)
def test_what_no_network_can_be_built_with_is_one_line(asked, complaint):
    with pytest.raises(UsageError, match=complaint) as error:
        build("resnet8", **{"num_classes": 3, **asked})
    assert "\n" not in str(error.value)
