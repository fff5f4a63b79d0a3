"""Where stages are before their last activation."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from mentorch import Edge, Graph, UsageError, losses, networks
from mentorch.methods import distill
from mentorch.methods._distill._preact import before_activation
from mentorch.networks import Taps

BUILDERS = [
    networks.cnn_small,
    networks.resnet8,
    networks.resnet8x4,
    networks.wrn_16_1,
    networks.vgg8,
    networks.shufflenet_v1,
]


@pytest.mark.parametrize("build", BUILDERS)
def test_the_activation_makes_the_stage_of_what_precedes_it(build) -> None:
    torch.manual_seed(0)
    network = build(10).eval()
    for stage in network.taps.stages:
        before = before_activation(network, [stage], partial(network, torch.rand(2, 3, 32, 32)))[stage]
        assert before.endswith(":in")

        def compare(student: Tensor, *_: Tensor) -> Tensor:
            return (student[0].relu() - student[1]).abs().mean() + (student[0] >= 0).all()

        edge = Edge("inputs", (f"net.{before}", f"net.{stage}"), compare)
        (value,) = Graph({"net": network}, [edge]).eval()(torch.rand(2, 3, 32, 32)).values()
        assert value == 0


def test_a_stage_without_activation_is_its_own() -> None:
    network = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)), nn.Sequential(nn.ReLU(), nn.Conv2d(4, 4, 1))
    )
    expected = ["0", "1", "0:in"]
    assert list(before_activation(network, expected, partial(network, torch.rand(1, 3, 2, 2))).values()) == expected


def test_a_part_of_a_stage_that_ends_in_an_activation_does_not_end_the_stage() -> None:
    network = networks.shufflenet_v2(10).eval()  # its branches are joined after their activations
    stages = network.taps.stages
    assert before_activation(network, stages, partial(network, torch.rand(2, 3, 32, 32))) == {s: s for s in stages}


class Block(nn.Module):
    """Its shortcut, which ends in an activation too, is written last."""

    def __init__(self, inputs: int, outputs: int, shared: bool, inplace: bool):
        super().__init__()
        self.conv, self.relu, self.shared = nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(inplace), shared
        self.down = nn.Sequential(nn.Conv2d(inputs, outputs, 1), nn.ReLU(inplace))

    def forward(self, x: Tensor) -> Tensor:
        inner = self.conv(self.relu(x + 0.0) if self.shared else x)
        return self.relu(self.down(x) + inner)


class Plain(Block):
    """Ends in a sum that is written into what an activation gave."""

    def forward(self, x: Tensor) -> Tensor:
        return self.down(x).add_(self.conv(x))


class Net(nn.Module):
    taps = Taps("", ("a", "b"), "fc:in")

    def __init__(self, block: type[Block] = Block, shared: bool = False, inplace: bool = False):
        super().__init__()
        self.a, self.b = block(3, 4, shared, inplace), block(4, 6, shared, inplace)
        self.fc = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.fc(self.b(self.a(x)).mean((2, 3)))
        return result


EXAMPLE = torch.rand(4, 3, 8, 8), torch.tensor([0, 1, 2, 0])


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("loss", [losses.OFD, losses.ab])
def test_with_an_example_it_is_the_activation_that_gives_the_output(loss, inplace: bool) -> None:
    student, teacher = Net(inplace=inplace), Net(inplace=inplace)
    graph = distill(student, teacher, loss, labels=0.0, example=EXAMPLE)
    assert [edge.sources for edge in graph.edges] == [("teacher.a.relu:in",), ("teacher.b.relu:in",)]
    assert [edge.targets for edge in graph.edges] == [("student.a.relu:in",), ("student.b.relu:in",)]
    assert all(value.isfinite() for value in graph(*EXAMPLE).values())
    assert student.training


@pytest.mark.parametrize("network", [partial(Net, shared=True), partial(Net, Plain), partial(Net, Plain, inplace=True)])
def test_a_stage_that_no_activation_of_its_own_ends_is_read_as_it_is(network) -> None:
    graph = distill(network(), network(), losses.Review, labels=0.0, example=EXAMPLE)
    assert graph.edges[0].sources == ("teacher.a", "teacher.b", "teacher.fc:in")
    assert all(value.isfinite() for value in graph(*EXAMPLE).values())


def test_a_pair_that_does_not_exist_is_named() -> None:
    with pytest.raises(UsageError, match="module of 'teacher' 'c'"):
        distill(Net(), Net(), losses.OFD, pair=[("a", "c")], example=EXAMPLE)


@pytest.mark.parametrize("loss", [losses.OFD, losses.ab, losses.Review])
def test_without_an_example_it_is_asked_for(loss) -> None:
    with pytest.raises(UsageError, match="reads maps before their activation: pass example="):
        distill(Net(), Net(), loss)
