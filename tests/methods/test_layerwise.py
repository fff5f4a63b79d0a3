import copy
import functools
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mentorch import UsageError, fit, networks
from mentorch.data import LabelSpace, Normalize
from mentorch.methods import LayerwiseStage, layerwise
from mentorch.training import On

SPACE = LabelSpace.union({"a": "uvw", "b": "xy"})
IMAGES = torch.rand(24, 3, 8, 8, generator=torch.Generator().manual_seed(0))
TRAIN = [(IMAGES[i : i + 8],) for i in range(0, 24, 8)]
adam = functools.partial(torch.optim.Adam, lr=0.01)
train = functools.partial(fit, optimizer=adam, epochs=6, progress=False, tensorboard=False)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def plain(*widths: int, classes: int) -> nn.Sequential:
    """Convolutions and a linear layer, with biases and nothing else that learns, as in the paper."""
    layers: list[nn.Module] = []
    for inputs, outputs in zip((3, *widths), widths, strict=False):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(4 * widths[-1], classes))


def teachers() -> dict[str, nn.Module]:
    return {"a": plain(6, 8, classes=3), "b": plain(4, 10, classes=2)}  # of different widths


def run(student: nn.Module, own=None, **options) -> list[LayerwiseStage]:
    return list(layerwise(own or teachers(), student, TRAIN, options.pop("fit", train), space=SPACE, **options))


def test_three_stages_end_in_a_plain_student_that_says_what_the_teachers_say():
    own, student = teachers(), plain(6, 12, classes=5)
    before = {name: copy.deepcopy(net.state_dict()) for name, net in own.items()}
    names = set(student.state_dict())
    wanted = torch.cat([net(IMAGES) for net in own.values()], 1).detach()
    start = nn.functional.mse_loss(student(IMAGES), wanted)
    stages = run(student, own, fit=functools.partial(train, epochs=60))
    assert [stage.name for stage in stages] == ["codes", "layers", "together"]
    for stage in stages:
        losses = [record["train"]["loss"] for record in stage.history.records]
        assert losses[-1] < 0.8 * losses[0]
    assert set(student.state_dict()) == names  # the adapters are gone
    assert nn.functional.mse_loss(student(IMAGES), wanted) < 0.2 * start
    assert not student[0]._forward_hooks
    for name, state in before.items():
        assert all(torch.equal(value, own[name].state_dict()[key]) for key, value in state.items())


def test_other_architectures_and_larger_maps():
    own = {"a": plain(6, 8, classes=3), "b": networks.cnn_medium(2)}
    student = networks.cnn_small(5)
    groups = [{"student": "layer2.1", "a": "0", "b": "layer1.0"}]  # 8x8 maps of the teachers, 4x4 of the student
    stages = run(student, own, layers=groups, codes="pca", views={"a": Normalize((0.5,) * 3, (0.5,) * 3)})
    assert [stage.history is None for stage in stages] == [True, False, False]
    assert student(IMAGES).shape == (24, 5)


def test_a_batch_norm_network_keeps_its_tensors():
    own = {"a": networks.resnet8(3), "b": networks.resnet8(2)}
    student = networks.resnet8(5)
    names = list(student.state_dict())
    run(student, own, codes="pca", fit=functools.partial(train, epochs=1))
    assert list(student.state_dict()) == names


class HeadFirst(nn.Module):
    """Registers its layers in another order than they run in, and one that never runs."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.fc, self.spare = nn.Linear(8, classes), nn.Linear(3, 3)
        self.b, self.a = nn.Conv2d(width, 8, 3), nn.Conv2d(3, width, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.b(self.a(images).relu()).relu().mean((2, 3)))


def test_layers_are_paired_in_the_order_in_which_they_run():
    own, student = {"a": HeadFirst(4, 3), "b": HeadFirst(6, 2).eval()}, HeadFirst(5, 5)
    stages = run(student, own, fit=functools.partial(train, epochs=1))
    assert [edge.name for edge in stages[0].graph.edges] == ["a", "b"]
    assert student.training
    assert not student.a._forward_hooks
    assert not own["a"].a._forward_hooks


@pytest.mark.parametrize("codes", ["learned", "pca"])
def test_it_works_in_double_precision(codes: str):
    own, student = {name: net.double() for name, net in teachers().items()}, plain(6, 12, classes=5).double()
    data = [(inputs.double(),) for (inputs,) in TRAIN]
    short = functools.partial(train, epochs=1)
    for stage in layerwise(own, student, data, short, space=SPACE, codes=codes):
        assert all(p.dtype == torch.float64 for p in stage.graph.parameters())
    assert student(IMAGES.double()).isfinite().all()


def test_every_stage_is_resumed(tmp_path: Path):
    def once(folder: Path, *, stop: int = 3, resume: bool = False) -> dict[str, Tensor]:
        torch.manual_seed(0)
        student = plain(6, 12, classes=5)
        own = teachers()
        stages = layerwise(own, student, TRAIN, train, space=SPACE, run=folder, resume=resume)
        for _ in range(stop):
            next(stages)
        return student.state_dict()

    whole = once(tmp_path / "whole")
    for stop in (1, 2, 3):
        once(tmp_path / f"{stop}", stop=stop)
        again = once(tmp_path / f"{stop}", resume=True)
        assert all(torch.equal(value, whole[key]) for key, value in again.items())
    assert sorted(p.name for p in (tmp_path / "whole").iterdir() if p.is_dir()) == ["1-codes", "2-layers", "3-together"]


@pytest.mark.parametrize("stage", ["codes", "layers", "together"])
def test_a_stage_that_was_interrupted_goes_on_to_the_same_bits(tmp_path: Path, stage: str):
    def interrupt(training: object) -> None:
        raise KeyboardInterrupt

    def once(folder: Path, fits: object = train, resume: bool = False) -> dict[str, Tensor]:
        torch.manual_seed(0)
        student, own = plain(6, 12, classes=5), teachers()
        run(student, own, fit=fits, run=folder, resume=resume)
        return student.state_dict()

    whole = once(tmp_path / "whole")
    fits = dict.fromkeys(("codes", "layers", "together"), train)
    fits[stage] = functools.partial(train, callbacks=(On("epoch", interrupt, at=(3,)),))
    with pytest.raises(KeyboardInterrupt):
        once(tmp_path / "part", fits)
    again = once(tmp_path / "part", resume=True)
    assert all(torch.equal(value, whole[key]) for key, value in again.items())


def one() -> nn.Module:
    return plain(6, 12, classes=5)


def flat() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 5))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: run(one(), {"a": plain(4, 4, classes=3)}), "at least two teachers"),
        (lambda: run(flat()), r"numbers of layers \(a 3, b 3, student 1\): name groups with layers="),
        (lambda: run(one(), codes="best"), "unknown kind of codes 'best'"),
        (lambda: run(one(), resume=True), "resume needs a run folder"),
        (lambda: run(one(), fit={"layers": train, "together": train}), "nothing about stage 'codes'"),
        (lambda: run(one(), layers=[]), "at least one layer before the last"),
        (lambda: run(one(), layers=[{"student": "0", "a": "0"}]), "names a module of each of a, b, student"),
        (lambda: run(one(), layers=[{"student": "0", "a": "0", "b": "9"}]), "unknown module of 'b' '9'"),
        (lambda: run(one(), layers=[{"student": "1", "a": "0", "b": "0"}]), r"student.1 is ReLU"),
        (lambda: run(one(), layers=[{"student": "0", "a": "3", "b": "0"}]), r"a.3 shows \[8, 4, 4\], the student's"),
        (lambda: next(layerwise(teachers(), plain(6, 12, classes=4), TRAIN, None, space=SPACE)), "give it a head of 5"),
    ],
)
def test_wrong_use_is_named(make, message: str):
    with pytest.raises(UsageError, match=message):
        make()
