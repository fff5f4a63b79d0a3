from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mentorch
from mentorch import Graph, UsageError, losses, methods
from mentorch.methods import Slimmed, slim_down
from mentorch.networks import build, cnn_small, state_hash
from mentorch.structure import Plan, plan, prune, resize, scores, slim
from mentorch.training import History, On

DATA = [(torch.rand(4, 1, 8, 8), torch.tensor([0, 1, 2, 3])) for _ in range(3)]
IMAGES = DATA[0][0]
fit = partial(
    mentorch.fit,
    train=DATA,
    optimizer=partial(torch.optim.SGD, lr=0.05, momentum=0.9),
    epochs=2,
    device="cpu",
    progress=False,
    tensorboard=False,
)


def finetune(small: nn.Module, whole: nn.Module) -> Graph:
    return methods.supervise(small)


def make() -> nn.Module:
    torch.manual_seed(3)
    return cnn_small(4, 1)


def chain(network: nn.Module | None = None, **options: Any) -> Iterator[Slimmed]:
    network = make() if network is None else network
    draw = options.pop("draw", finetune)
    return slim_down(network, options.pop("fit", fit), draw, IMAGES, **{"to": 0.3, "steps": 3, **options})


def cost(network: nn.Module, of: str) -> int:
    found = plan(network, IMAGES)
    return found.cost(found.shapes)[of == "macs"]


@pytest.mark.parametrize("of", ["macs", "parameters"])
def test_every_step_removes_the_same_fraction_and_the_last_meets_the_target(of: Any) -> None:
    network = make()
    whole = cost(network, of)
    left = [cost(step.network, of) / whole for step in chain(network, of=of)]
    for number, found in enumerate(left, start=1):
        assert found <= 0.3 ** (number / 3)
        assert found > 0.3 ** (number / 3) - 0.08  # at most one channel below it
    assert left == sorted(left, reverse=True)


def test_one_step_is_pruning_and_training_by_hand() -> None:
    (step,) = chain(steps=1)
    network = make()
    small = slim(network, prune(network, plan(network, IMAGES), to=0.3, of="macs"))
    fit(methods.supervise(small))
    assert state_hash(step.network) == state_hash(small)


def test_the_network_itself_stays_and_a_frozen_copy_teaches() -> None:
    network = make()
    before, teachers = state_hash(network), []

    def draw(small: nn.Module, whole: nn.Module) -> Graph:
        teachers.append(whole)
        return methods.distill(small, whole, losses.kd)

    found = list(chain(network, draw=draw, steps=2))
    assert state_hash(network) == before
    assert all(p.requires_grad for p in network.parameters())
    assert {state_hash(teacher) for teacher in teachers} == {before}
    assert teachers[0] is teachers[1] is not network
    assert found[1].graph.frozen == ("teacher",)
    pointers = {p.data_ptr() for p in network.parameters()}
    assert not pointers & {p.data_ptr() for step in found for p in step.network.parameters()}


def test_its_recipes_rebuild_it_without_the_whole_network() -> None:
    *_, last = chain()
    assert len(last.structure) == 3
    network = build("cnn_small", num_classes=4, in_channels=1)
    for recipe in last.structure:
        network = resize(network, recipe)
    network.load_state_dict(last.network.state_dict())
    assert torch.equal(network.eval()(IMAGES), last.network.eval()(IMAGES))


def test_scores_of_your_own_decide_at_every_step() -> None:
    seen = []

    def by(network: nn.Module, channels: Plan) -> Tensor:
        seen.append(cost(network, "macs"))
        return scores(network, channels, "l2")

    found = list(chain(by=by, steps=2))
    whole = cost(make(), "macs")
    assert seen == [whole, whole, cost(found[0].network, "macs")]  # the first is a trial
    wanted = make()
    again = prune(wanted, plan(wanted, IMAGES), by="l2", to=0.3**0.5, of="macs")
    assert found[0].split.kept == again.kept


@pytest.mark.parametrize("when", [(1, 1), (2, 1), (3, 2)], ids=str)
def test_after_an_interruption_it_goes_on_and_ends_with_the_same_bits(tmp_path: Path, when: tuple[int, int]) -> None:
    whole = [state_hash(step.network) for step in chain()]
    trained: list[int] = []

    def kill(training: Any) -> None:
        if (len(trained), training.checkpoints) == when:
            raise KeyError

    def until_killed(graph: Graph, **options: Any) -> History:
        trained.append(len(trained) + 1)
        return fit(graph, callbacks=[On("checkpoint", kill)], **options)

    with pytest.raises(KeyError):
        list(chain(fit=until_killed, run=tmp_path))
    assert [state_hash(step.network) for step in chain(run=tmp_path, resume=True)] == whole


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"to": 0}, "above 0 and at most 1, not 0"),
        ({"to": 1e-6}, "cannot prune to"),
        ({"of": "channels"}, "'parameters' or 'macs', not 'channels'"),
        ({"by": "l3"}, "unknown importance 'l3'"),
        ({"by": "taylor"}, "has no gradient"),
        ({"scope": "all"}, "scope must be"),
        ({"resume": True}, "resume needs a run folder"),
    ],
    ids=str,
)
def test_bad_input_is_refused_at_once(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        chain(**options)


def test_a_graph_without_the_network_is_refused() -> None:
    with pytest.raises(UsageError, match="step 1 is not in the graph"):
        next(chain(draw=lambda small, whole: methods.supervise(make())))
