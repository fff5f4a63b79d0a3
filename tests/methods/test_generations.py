from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mentorch
from mentorch import Graph, UsageError, freeze, losses, methods
from mentorch.methods import Ensemble, Generation, assistants, born_again
from mentorch.networks import cnn_small, cnn_tiny, state_hash
from mentorch.training import History, On

DATA = [(torch.rand(4, 1, 8, 8), torch.tensor([0, 1, 2, 3])) for _ in range(3)]
fit = partial(
    mentorch.fit,
    train=DATA,
    optimizer=partial(torch.optim.SGD, lr=0.05, momentum=0.9),
    epochs=2,
    device="cpu",
    progress=False,
    tensorboard=False,
)


def make() -> nn.Module:
    return cnn_tiny(4, 1)


def draw(student: nn.Module, teacher: nn.Module) -> Graph:
    return methods.distill(student, teacher, partial(losses.kd, temperature=2.0))


def chain(**options: Any) -> Iterator[Generation]:
    torch.manual_seed(3)
    return born_again(make, options.pop("fit", fit), options.pop("draw", draw), **{"generations": 3, **options})


def test_each_generation_is_the_frozen_teacher_of_the_next() -> None:
    found, hashes = [], []
    for generation in chain():
        teacher = dict(generation.graph.nodes.items()).get("teacher")
        if generation.number == 1:
            assert teacher is None
            assert [edge.name for edge in generation.graph.edges] == ["labels -> student: cross_entropy"]
        else:
            assert teacher is found[-1].network
            assert state_hash(teacher) == hashes[-1]
            assert generation.graph.frozen == ("teacher",)
        assert generation.graph.learning == ("student",)  # so that evaluate and the like need no name
        assert generation.network is generation.graph.nodes["student"]
        assert len(generation.history.records) == 2
        found.append(generation)
        hashes.append(state_hash(generation.network))
    assert [generation.number for generation in found] == [1, 2, 3]
    assert [state_hash(generation.network) for generation in found] == hashes
    assert len(set(hashes)) == 3
    assert [generation.graph.learning for generation in found] == [(), (), ("student",)]


def test_it_is_the_loop_written_by_hand_bit_for_bit() -> None:
    first, second = (state_hash(generation.network) for generation in chain(generations=2))
    torch.manual_seed(3)
    one = make()
    fit(methods.supervise(one))
    assert state_hash(one) == first
    two = make()
    fit(methods.distill(two, freeze(one), partial(losses.kd, temperature=2.0)))
    assert state_hash(two) == second


def test_a_given_teacher_teaches_the_first_and_is_frozen() -> None:
    torch.manual_seed(0)
    teacher = cnn_small(4, 1)
    before = state_hash(teacher)
    (generation,) = chain(teacher=teacher, generations=1)
    assert generation.graph.nodes["teacher"] is teacher
    assert state_hash(teacher) == before
    assert not any(p.requires_grad for p in teacher.parameters())


def test_a_teacher_that_uses_the_statistics_of_the_batch_keeps_doing_so() -> None:
    teacher = freeze(cnn_small(4, 1), statistics="batch")
    list(chain(teacher=teacher, generations=1))
    assert any(m.training for m in teacher.modules() if isinstance(m, nn.BatchNorm2d))


def test_the_first_generation_can_learn_in_its_own_way() -> None:
    def view(images: Tensor) -> Tensor:
        return images * 2

    (generation,) = chain(generations=1, first=partial(methods.supervise, view=view))
    assert generation.graph.views == {"student": view}


def test_nothing_is_trained_before_it_is_asked_for() -> None:
    asked = []

    def count(graph: Graph) -> History:
        asked.append(graph)
        return History()

    loop = chain(fit=count)
    assert not asked
    next(loop)
    next(loop)
    assert len(asked) == 2


def test_assistants_learn_in_a_row_each_from_the_one_before() -> None:
    torch.manual_seed(0)
    teacher = cnn_small(4, 1)
    found = list(assistants([lambda: cnn_small(4, 1), make], fit, draw, teacher=teacher))
    assert [generation.graph.nodes["teacher"] for generation in found] == [teacher, found[0].network]
    assert [sum(p.numel() for p in generation.network.parameters()) for generation in found] == [
        sum(p.numel() for p in network.parameters()) for network in (cnn_small(4, 1), make())
    ]
    alone = next(assistants([make], fit, draw))
    assert list(alone.graph.nodes) == ["student"]


class KilledError(Exception):
    """Of a test."""


@pytest.mark.parametrize("when", [(1, 2), (2, 1), (3, 1)], ids=str)
def test_after_an_interruption_it_goes_on_and_ends_with_the_same_bits(tmp_path: Path, when: tuple[int, int]) -> None:
    whole = [state_hash(generation.network) for generation in chain(run=tmp_path / "whole")]
    assert whole == [state_hash(generation.network) for generation in chain()]
    trained: list[int] = []

    def kill(training: Any) -> None:
        if (len(trained), training.checkpoints) == when:
            raise KilledError

    def until_killed(graph: Graph, **options: Any) -> History:
        trained.append(len(trained) + 1)
        return fit(graph, callbacks=[On("checkpoint", kill)], **options)

    with pytest.raises(KilledError):
        list(chain(fit=until_killed, run=tmp_path / "run"))
    assert trained[-1] == when[0]

    steps: list[int] = []

    def counted(graph: Graph, **options: Any) -> History:
        steps.append(0)

        def step(training: Any) -> None:
            steps[-1] += 1

        return fit(graph, callbacks=[On("step", step)], **options)

    again = [state_hash(generation.network) for generation in chain(fit=counted, run=tmp_path / "run", resume=True)]
    assert again == whole
    per_epoch, number = len(DATA), when[0]
    done = [0] * (number - 1) + [per_epoch * (2 - when[1])]
    assert steps == done + [2 * per_epoch] * (3 - number)
    assert sorted(path.name for path in (tmp_path / "run").iterdir() if path.is_dir()) == [
        "generation-1",
        "generation-2",
        "generation-3",
    ]


def test_a_folder_that_holds_a_run_is_not_overwritten(tmp_path: Path) -> None:
    list(chain(run=tmp_path, generations=1))
    with pytest.raises(UsageError, match="already holds a run"):
        list(chain(run=tmp_path, generations=1))


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda: chain(generations=0), "generations must be at least 1, got 0"),
        (lambda: assistants([], fit, draw), "at least one network"),
        (lambda: chain(resume=True), "resume needs a run folder"),
    ],
)
def test_bad_input_is_refused_at_once(call, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        call()


def test_the_same_network_twice_is_refused() -> None:
    network = make()
    loop = born_again(lambda: network, fit, draw)
    next(loop)
    with pytest.raises(UsageError, match="generation 2 is a frozen network, such as an earlier one: make a new one"):
        next(loop)


def test_a_graph_without_the_network_is_refused() -> None:
    with pytest.raises(UsageError, match="generation 2 is not in the graph"):
        list(chain(draw=lambda student, teacher: draw(make(), teacher)))


def test_an_ensemble_says_the_mean_of_the_probabilities_and_can_teach() -> None:
    networks = [generation.network for generation in chain(generations=2)]
    ensemble = freeze(Ensemble(networks))
    images = DATA[0][0]
    expected = torch.stack([network.eval()(images).double().softmax(1) for network in networks]).mean(0)
    torch.testing.assert_close(ensemble(images).double().softmax(1), expected, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(ensemble(images).logsumexp(1), torch.zeros(4), rtol=0, atol=1e-6)  # probabilities
    far = Ensemble([nn.Identity(), nn.Identity()])(torch.tensor([[0.0, -1000.0]]))
    assert far.tolist() == [[0.0, -1000.0]]
    fit(draw(make(), ensemble))
    with pytest.raises(UsageError, match="at least one network"):
        Ensemble([])
