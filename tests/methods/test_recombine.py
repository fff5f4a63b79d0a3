import functools
import itertools
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mentorch import UsageError, fit, freeze, networks
from mentorch.data import LabelSpace, Normalize
from mentorch.methods import Round, recombine
from mentorch.training import On

SPACE = LabelSpace.union({"a": "uvw", "b": "xy"})
IMAGES = torch.rand(24, 3, 8, 8, generator=torch.Generator().manual_seed(0))
TRAIN = [(IMAGES[i : i + 8],) for i in range(0, 24, 8)]
adam = functools.partial(torch.optim.Adam, lr=0.005)
train = functools.partial(fit, optimizer=adam, epochs=4, progress=False, tensorboard=False)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def teachers(make=networks.cnn_small) -> dict[str, nn.Module]:
    made = {"a": make(3), "b": make(2)}
    for network in made.values():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.running_mean)
                nn.init.uniform_(module.running_var, 0.5, 2.0)
    return made


def run(own=None, **options) -> list[Round]:
    return list(recombine(own or teachers(), TRAIN, train, space=options.pop("space", SPACE), **options))


@pytest.mark.parametrize("make", [networks.resnet8, networks.vgg8, networks.wrn_10_1, networks.mobilenet_v2])
@pytest.mark.parametrize("frozen", [False, True], ids=["plain", "frozen"])
def test_it_begins_as_all_teachers_at_once(make, frozen: bool):
    own = {name: (freeze(net) if frozen else net).double() for name, net in teachers(make).items()}
    images = torch.rand(2, 3, 32, 32, dtype=torch.float64)
    first = next(recombine(own, [(images,)], train, space=SPACE))
    said = torch.cat([net.eval()(images) for net in own.values()], 1)
    torch.testing.assert_close(first.network.eval()(images), said, rtol=1e-10, atol=1e-10)
    assert all(p.requires_grad for p in first.network.parameters())
    assert first.network.train().training
    assert all(module.training for module in first.network.modules())


def test_it_ends_at_the_size_that_was_asked_for_and_still_learns():
    rounds = run(keep=0.5, rounds=2, view=Normalize((0.5,) * 3, (0.5,) * 3))
    assert [r.number for r in rounds] == [0, 1, 2]
    whole = rounds[0].parameters
    for r in rounds[1:]:
        assert r.parameters <= whole * 0.5 ** (r.number / 2)
        assert r.parameters > 0.93 * whole * 0.5 ** (r.number / 2)
        assert r.parameters == sum(p.numel() for p in r.network.parameters())
        losses = [record["train"]["loss"] for record in r.history.records]
        assert losses[-1] < losses[0]
        assert r.network(IMAGES).shape == (24, 5)
        assert r.graph.nodes["student"] is r.network
    for one, other in itertools.pairwise(rounds):
        held = {p.data_ptr() for p in one.network.parameters()}
        assert not held & {p.data_ptr() for p in other.network.parameters()}


def test_all_rounds_are_resumed(tmp_path: Path):
    def weights(folder: Path, stop: int = 3, resume: bool = False) -> dict[str, Tensor]:
        torch.manual_seed(0)
        rounds = recombine(teachers(), TRAIN, train, space=SPACE, rounds=2, run=folder, resume=resume)
        return list(itertools.islice(rounds, stop))[-1].network.state_dict()

    whole = weights(tmp_path / "whole")
    weights(tmp_path / "part", stop=2)
    again = weights(tmp_path / "part", resume=True)
    assert all(torch.equal(value, whole[key]) for key, value in again.items())


def test_a_round_that_was_interrupted_goes_on_to_the_same_bits(tmp_path: Path):
    def interrupt(training: object) -> None:
        raise KeyboardInterrupt

    def once(folder: Path, fitted=train, resume: bool = False) -> dict[str, Tensor]:
        torch.manual_seed(0)
        rounds = list(recombine(teachers(), TRAIN, fitted, space=SPACE, rounds=2, run=folder, resume=resume))
        return rounds[-1].network.state_dict()

    whole = once(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        once(tmp_path / "part", functools.partial(train, callbacks=(On("epoch", interrupt, at=(2,)),)))
    again = once(tmp_path / "part", resume=True)
    assert all(torch.equal(value, whole[key]) for key, value in again.items())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: run({"a": networks.cnn_small(3)}), "at least two teachers"),
        (lambda: run({"a": networks.cnn_small(3), "b": networks.cnn_tiny(2)}), "another architecture"),
        (lambda: run(space=LabelSpace.union({"a": "uvw", "b": "wx"})), "keeps all outputs .* overlap='keep'"),
        (lambda: run(space=SPACE.only("uvx")), "keeps all outputs"),
        (lambda: run(space=LabelSpace.union({"b": "xy", "a": "uvw"})), "in the order of the teachers"),
        (lambda: run(keep=0.0), "keep is a fraction above 0"),
        (lambda: run(rounds=0), "rounds at least 1"),
        (lambda: run(resume=True), "resume needs a run folder"),
    ],
)
def test_wrong_use_is_named(make, message: str):
    with pytest.raises(UsageError, match=message):
        make()
