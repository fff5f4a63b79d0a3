import copy
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mentorch
from mentorch import Graph, RunError, UsageError, losses, methods
from mentorch.methods import Evolved, evolve, supervise
from mentorch.networks import cnn_small, cnn_tiny, state_hash
from mentorch.structure import Split, larger_weights, later_layers, plan, reset, slim, split, zero
from mentorch.structure._split import hash_seed
from mentorch.training import History, On

DATA = [(torch.rand(4, 1, 8, 8), torch.tensor([0, 1, 2, 3])) for _ in range(3)]
IMAGES = DATA[0][0]
momentum = partial(torch.optim.SGD, lr=0.05, momentum=0.9)
fit = partial(
    mentorch.fit,
    train=DATA,
    optimizer=momentum,
    epochs=2,
    schedule=mentorch.gates.Cosine(1.0, 0.0),
    device="cpu",
    progress=False,
    tensorboard=False,
)


def make() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Dropout(0.2), cnn_tiny(4, 1))  # dropout: the random state counts


def halved(network: nn.Module, mode: Any = "kels") -> Split:
    return split(plan(network, IMAGES), 0.5, mode=mode)


def chain(network: nn.Module | None = None, **options: Any) -> Iterator[Evolved]:
    network = make() if network is None else network
    part = options.pop("split", None)
    return evolve(
        network,
        options.pop("fit", fit),
        options.pop("draw", supervise),
        halved(network) if part is None else part,
        **{"generations": 3, **options},
    )


def weights(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


@pytest.mark.parametrize("mode", ["kels", "wels"])
def test_the_fit_part_and_all_that_is_no_layer_enter_a_generation_with_the_same_bits(mode: str) -> None:
    before: list[dict[str, Tensor]] = []
    network = make()
    part = halved(network, mode)

    def watch(graph: Graph, **options: Any) -> History:
        before.append(weights(network))
        return fit(graph, **options)

    after = [weights(generation.network) for generation in chain(network, split=part, fit=watch)]
    for ended, begun in zip(after, before[1:], strict=False):
        for name, was in ended.items():
            if name not in part.plan.layers:
                assert torch.equal(begun[name], was), name
                continue
            mask = part.mask(name)
            assert 0 < mask.sum() < mask.numel()
            assert torch.equal(begun[name][mask], was[mask]), name
            assert not torch.isclose(begun[name][~mask], was[~mask]).any(), name
            bound = was[0].numel() ** -0.5
            assert begun[name][~mask].abs().max() <= bound
    assert any(not torch.equal(before[1][n], before[2][n]) for n in part.plan.layers)


def test_it_is_the_loop_written_by_hand_bit_for_bit() -> None:
    found = [state_hash(generation.network) for generation in chain(seed=5)]
    network = make()
    part, by_hand = halved(network), []
    for number in (1, 2, 3):
        if number > 1:
            reset(network, part, seed=hash_seed(5, f"generation {number}"))
        optimizer = momentum(network.parameters())
        steps = 2 * len(DATA)
        network.train()
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = 0.05 * mentorch.gates.Cosine(1.0, 0.0)(step / (steps - 1))
            inputs, labels = DATA[step % len(DATA)]
            optimizer.zero_grad()
            losses.cross_entropy(network(inputs), labels).mean().backward()
            optimizer.step()
        by_hand.append(state_hash(network))
    assert found == by_hand


def test_the_first_generation_is_an_ordinary_training() -> None:
    first = state_hash(next(chain()).network)
    network = make()
    fit(supervise(network))
    assert state_hash(network) == first


def test_the_slim_network_computes_what_the_dense_one_does_without_its_reset_part() -> None:
    for generation in chain(generations=2):
        assert generation.slim is not None
        dense = copy.deepcopy(generation.network)
        reset(dense, generation.split, law=zero)
        again = slim(generation.network, generation.split)
        assert state_hash(again) == state_hash(generation.slim)
        with torch.no_grad():
            expected, found = dense.double().eval()(IMAGES.double()), generation.slim.double().eval()(IMAGES.double())
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-14)
        assert torch.equal(found.argmax(1), expected.argmax(1))


def test_the_slim_network_of_a_generation_stays_as_it_was() -> None:
    found = list(chain())
    assert len({state_hash(generation.slim) for generation in found if generation.slim is not None}) == 3
    assert all(generation.network is found[0].network for generation in found)


def test_a_split_by_weights_has_no_slim_network() -> None:
    network = make()
    assert next(chain(network, split=halved(network, "wels"))).slim is None


def test_later_layers_are_forgotten() -> None:
    network = make()
    first, second = [None, None]
    part = later_layers(plan(network, IMAGES), 1)
    loop = chain(network, split=part, fit=lambda graph: History(), generations=2)
    next(loop)
    first = weights(network)
    next(loop)
    second = weights(network)
    changed = {name for name in first if not torch.equal(first[name], second[name])}
    assert changed == {list(part.plan.layers)[-1]}


def test_what_is_kept_may_depend_on_what_was_learned() -> None:
    network = make()
    channels = plan(network, IMAGES)
    seen = []

    def larger(of: nn.Module, number: int) -> Split:
        part = larger_weights(of, channels, 0.5)
        seen.append(number)
        return part

    loop = chain(network, split=larger, generations=2)
    first = next(loop)
    name = next(iter(channels.layers))
    trained = first.network.get_parameter(name).detach().abs().clone()
    assert trained[first.split.mask(name)].min() >= trained[~first.split.mask(name)].max()
    second = next(loop)
    assert any(not torch.equal(first.split.mask(n), second.split.mask(n)) for n in channels.layers)
    assert seen == [0, 1, 2]  # the copy that is tried at once, and each generation


def test_forgetting_can_begin_before_the_first_generation() -> None:
    network = make()
    before = weights(network)
    part = halved(network)
    next(chain(network, split=part, fit=lambda graph: History(), reset_first=True))
    name = next(iter(part.plan.layers))
    after = network.get_parameter(name).detach()
    assert torch.equal(after[part.mask(name)], before[name][part.mask(name)])
    assert not torch.equal(after, before[name])
    untouched = make()
    next(chain(untouched, fit=lambda graph: History()))
    assert state_hash(untouched) == state_hash(make())


def test_resets_are_functions_of_seed_and_generation_alone() -> None:
    def after(seed: int) -> list[str]:
        found = []
        for generation in chain(fit=lambda graph: History(), seed=seed):
            torch.rand(3)  # what others draw
            found.append(state_hash(generation.network))
        return found

    assert after(0) == after(0)
    assert len({*after(0), *after(1)}) == 5  # all begin with the same weights


@pytest.mark.parametrize(("norm", "moves"), [("keep", False), ("both", True)])
def test_batch_norms_and_biases_are_forgotten_where_that_is_asked_for(norm: Any, moves: bool) -> None:
    network = make()
    loop = chain(network, norm=norm, bias=moves, generations=2)
    generation = next(loop)
    ended = weights(network)

    def begin(graph: Graph, **options: Any) -> History:
        return History()

    copied = copy.deepcopy(network)
    again = chain(copied, split=generation.split, norm=norm, bias=moves, reset_first=True, fit=begin)
    next(again)
    moved = {name for name, tensor in copied.state_dict().items() if not torch.equal(tensor, ended[name])}
    assert bool({name for name in moved if "running" in name or name.endswith("bias")}) == moves


def test_it_may_be_distilled_into_with_features_too() -> None:
    torch.manual_seed(0)
    teacher = cnn_small(4, 1)
    before = state_hash(teacher)
    network = cnn_tiny(4, 1)
    found = list(
        evolve(
            network, fit, lambda n: methods.distill(n, teacher, losses.kd, losses.pkt), halved(network), generations=2
        )
    )
    assert state_hash(teacher) == before
    assert [edge.name for edge in found[1].graph.edges][1:] == [
        "teacher -> student: kd",
        "teacher.fc:in -> student.fc:in: pkt",
    ]
    assert found[0].slim is not None


def test_each_generation_may_learn_from_data_of_its_own() -> None:
    seen: list[Any] = []

    def train(number: int) -> list[Any]:
        seen.append(number)
        return DATA[:number]

    lengths = [generation.history.samples for generation in chain(train=train)]
    assert seen == [1, 2, 3]
    assert lengths == [2 * 4, 2 * 8, 2 * 12]


def test_optimiser_and_schedule_begin_anew() -> None:
    rates, states = [], []

    def watched(graph: Graph) -> History:
        def note(training: Any) -> None:
            if training.step == 1:
                rates.append(training.steering.rates()["all"])
                states.append(
                    max(
                        buffer["momentum_buffer"].abs().max().item()
                        for buffer in training.steering.optimizers["all"].state.values()
                    )
                )

        return fit(graph, callbacks=[On("step", note)])

    list(chain(fit=watched))
    assert len(rates) == 3
    assert len(set(rates)) == 1
    # after one step momentum is the gradient of that step alone
    assert all(0 < state < 10 for state in states)


class KilledError(Exception):
    """Of a test."""


@pytest.mark.parametrize("when", [(1, 4), (2, 1), (2, 3), (3, 5), (3, 6)], ids=str)
def test_after_an_interruption_it_goes_on_and_ends_with_the_same_bits(tmp_path: Path, when: tuple[int, int]) -> None:
    def hashes(**options: Any) -> list[tuple[str, str]]:
        return [(state_hash(g.network), state_hash(g.slim)) for g in chain(**options) if g.slim is not None]

    whole = hashes(run=tmp_path / "whole")
    assert whole == hashes()
    trained: list[int] = []

    def kill(training: Any) -> None:
        if (len(trained), training.checkpoints) == when:
            raise KilledError

    def until_killed(graph: Graph, **options: Any) -> History:
        trained.append(len(trained) + 1)
        return fit(graph, callbacks=[On("checkpoint", kill)], checkpoint_every=1, **options)

    with pytest.raises(KilledError):
        hashes(fit=until_killed, run=tmp_path / "run")
    assert trained[-1] == when[0]
    torch.rand(5)  # another process has other random numbers
    steps: list[int] = []

    def counted(graph: Graph, **options: Any) -> History:
        steps.append(0)

        def step(training: Any) -> None:
            steps[-1] += 1

        return fit(graph, callbacks=[On("step", step)], **options)

    assert hashes(fit=counted, run=tmp_path / "run", resume=True) == whole
    each, (number, done) = 2 * len(DATA), when
    assert steps == [0] * (number - 1) + [each - done] + [each] * (3 - number)


def test_a_lost_generation_is_an_error_and_not_a_fresh_start(tmp_path: Path) -> None:
    list(chain(run=tmp_path))
    for path in sorted((tmp_path / "generation-2" / "checkpoints").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    with pytest.raises(RunError, match="generation-2 has no checkpoint, but a later generation has: start anew"):
        chain(run=tmp_path, resume=True)


def other_half(network: nn.Module) -> Split:
    return split(plan(network, IMAGES), 0.25)


def larger(network: nn.Module, number: int, keep: float = 0.5) -> Split:
    return larger_weights(network, plan(network, IMAGES), keep)


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"split": other_half(make())}, "keep is '1/2' there and '1/4' here"),
        ({"split": halved(make(), "wels")}, "split is .* there and .* here"),
        ({"split": larger}, "keep is '1/2' there and 'nothing' here"),
        ({"seed": 7}, "seed is 0 there and 7 here"),
        ({"law": zero}, "law is 'uniform' there and 'zero' here"),
        ({"bias": True}, "bias is False there and True here"),
        ({"norm": "both"}, "norm is 'keep' there and 'both' here"),
        ({"reset_first": True}, "reset_first is False there and True here"),
    ],
)
def test_generations_that_forget_in_another_way_are_refused(
    tmp_path: Path, changed: dict[str, Any], complaint: str
) -> None:
    next(chain(run=tmp_path))
    with pytest.raises(RunError, match=f"holds another run: {complaint}"):
        chain(run=tmp_path, resume=True, **changed)
    with pytest.raises(UsageError, match="already holds a run"):
        next(chain(run=tmp_path, **changed))
    assert len(list(chain(run=tmp_path, resume=True))) == 3


def test_generations_that_kept_another_drawn_part_are_refused(tmp_path: Path) -> None:
    two = list(chain(run=tmp_path, generations=2, split=larger))
    assert len(list(chain(run=tmp_path, generations=3, split=larger, resume=True))) == 3
    with pytest.raises(RunError, match=r"holds another run: generation 1 kept .* there and .* here"):
        next(chain(run=tmp_path, split=partial(larger, keep=0.25), resume=True))
    assert len(two) == 2


def test_generations_that_do_not_say_how_they_forget_are_refused(tmp_path: Path) -> None:
    next(chain(run=tmp_path))
    (tmp_path / "evolution.json").unlink()
    with pytest.raises(RunError, match=r"does not say how its generations forget, as there is no evolution\.json"):
        chain(run=tmp_path, resume=True)


def wrong_law(name: str, weight: Tensor, generator: torch.Generator) -> Tensor:
    return torch.zeros(weight.numel() + 1)


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda: chain(generations=0), "generations must be at least 1, got 0"),
        (lambda: chain(resume=True), "resume needs a run folder"),
        (lambda: chain(norm="all"), "norm must be"),
        (lambda: chain(split=halved(cnn_small(4, 1))), "the plan is of another network"),
        (
            lambda: chain(fit=partial(mentorch.fit, optimizer=torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=1))),
            "each generation has an optimiser of its own: bind a factory",
        ),
    ],
)
def test_bad_input_is_refused_at_once(call: Any, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        call()


def test_a_law_that_does_not_fit_shows_before_anything_is_trained() -> None:
    trained: list[int] = []
    with pytest.raises(RuntimeError):
        chain(law=wrong_law, fit=lambda graph: trained.append(1))
    assert not trained


def test_a_graph_without_the_network_is_refused() -> None:
    with pytest.raises(UsageError, match="generation 1 is not in the graph"):
        next(chain(draw=lambda network: supervise(make())))


def test_two_processes_evolve_what_one_does(together: Any, tmp_path: Path) -> None:
    (first, second), (alone,) = together("evolved", run=tmp_path), together("evolved", world=1)
    assert first == second
    assert first["samples"] == alone["samples"]
    for name, value in alone["weights"].items():
        torch.testing.assert_close(torch.tensor(first["weights"][name]), torch.tensor(value), rtol=1e-4, atol=1e-5)
