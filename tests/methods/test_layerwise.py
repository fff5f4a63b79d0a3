import copy
import functools
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mentorch import UsageError, fit, networks
from mentorch.data import LabelSpace, Normalize
from mentorch.methods import LayerwiseStage, layerwise
from mentorch.methods._amalgamate._codes import Codes, Seen, read
from mentorch.methods._amalgamate._relay import Relay
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


def features(own: dict[str, nn.Module], student: nn.Module, images: Tensor) -> tuple[Seen, Tensor]:
    """The view of the second convolution, and what it shows."""
    shape = read(student.eval(), ["3"], images)[0][0].shape[1:]
    seen = Seen(own, [{"a": "3", "b": "3", "student": "3"}], [shape], {})
    return seen, seen(images)["layer0"]


def test_principal_components_are_the_optimum_of_the_auto_encoder():
    own, student = ({n: net.double() for n, net in teachers().items()}, plain(6, 12, classes=5).double())
    batches = [(images.double(),) for (images,) in TRAIN]
    seen, x = features(own, student, IMAGES.double())
    codes = Codes([student[3]], [18]).double()
    codes.solve(seen, batches)
    error = nn.functional.mse_loss(codes({"layer0": x})["layer0"], x)
    rows = x.movedim(1, -1).flatten(0, -2)
    discarded = torch.linalg.eigvalsh(rows.mT.cov(correction=0))[: 18 - 12].sum() / 18
    torch.testing.assert_close(error, discarded)
    gradients = torch.autograd.grad(error, list(codes.parameters()))
    assert all(gradient.abs().max() < 1e-12 for gradient in gradients)


def test_a_wide_code_loses_nothing():
    own = teachers()
    student = plain(30, 30, classes=5)
    seen, x = features(own, student, IMAGES)
    codes = Codes([student[3]], [18])
    codes.solve(seen, TRAIN)
    torch.testing.assert_close(codes({"layer0": x})["layer0"], x, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "make", [lambda: plain(6, 12, classes=5), lambda: networks.resnet8(5)], ids=["plain", "resnet"]
)
def test_folding_leaves_the_function_unchanged(make):
    student = make().double().eval()
    paths = [p for p, m in student.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)][:-1]
    relay = Relay(student, [{"student": path} for path in paths], None)
    for parameter in relay.adapt.parameters():
        nn.init.normal_(parameter, std=0.5)
    handles = [
        student.get_submodule(path).register_forward_hook(lambda m, args, out, adapter=adapter: adapter(out))
        for path, adapter in zip(paths, relay.adapt, strict=True)
    ]
    expected = student(IMAGES.double())
    for handle in handles:
        handle.remove()
    assert not torch.allclose(student(IMAGES.double()), expected)
    relay.fold()
    torch.testing.assert_close(student(IMAGES.double()), expected, rtol=1e-10, atol=1e-10)


def test_layers_do_not_influence_each_other():
    student = plain(6, 12, classes=5)
    groups = [{"student": "0"}, {"student": "3"}]
    relay = Relay(student, groups, None)
    seen = {"inputs": IMAGES[:4], "code0": torch.randn(4, 6, 8, 8), "code1": torch.randn(4, 12, 4, 4)}
    made = relay(seen)
    own = {"layer0": ["student.0"], "layer1": ["adapt.0", "student.3"], "output": ["adapt.1", "student.7"]}
    for name, parts in own.items():
        made = relay(seen)
        relay.zero_grad()
        made[name].square().sum().backward()
        reached = {key.rpartition(".")[0] for key, p in relay.named_parameters() if p.grad is not None}
        assert reached == set(parts)
    # and each alone is that layer on the code before it
    first = student[3](student[2](torch.relu(relay.adapt[0](seen["code0"]))))
    torch.testing.assert_close(made["layer1"], first)


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


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: run(one(), {"a": plain(4, 4, classes=3)}), "at least two teachers"),
        (lambda: run(plain(6, classes=5)), r"numbers of layers \(a 3, b 3, student 2\): name groups with layers="),
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
