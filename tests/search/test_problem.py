import json
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mentorch import RunError, UsageError
from mentorch.networks import state_hash
from mentorch.search import Candidate, Space
from mentorch.search._problem import made

from .conftest import dataset

CUT, ON = "cutoff", "through"
SPACE = Space(("narrow", "wide"))
TAUGHT = Candidate(("wide",), ((ON, ON), (CUT, CUT)))


def test_frozen_partners_were_trained_before_and_once(toy, run: Path) -> None:
    calls = []

    def fit(*args, **options):
        calls.append(options["run"].parent.name)
        return problem.fit(*args, **options)

    problem = toy(epochs=8)
    counting = toy(epochs=8, fit=fit, about="the same")
    graph = counting.draw(TAUGHT, SPACE, 0, run)
    again = counting.draw(TAUGHT, SPACE, 0, run)
    assert calls == ["wide-seed-0"]
    assert graph.frozen == ("partner1",)
    assert state_hash(graph.nodes["partner1"]) == state_hash(again.nodes["partner1"])
    card = json.loads((run / "partners" / "wide-seed-0" / "card.json").read_text())
    assert card["validation"]["accuracy"] > 0.5  # of three classes
    assert card["data"] == counting.data.fingerprint


def test_two_frozen_partners_of_one_architecture_are_two_networks(toy, run: Path) -> None:
    rows = ((ON, ON, ON), (CUT, CUT, CUT), (CUT, CUT, CUT))
    graph = toy().draw(Candidate(("wide", "wide"), rows), SPACE, 0, run)
    assert state_hash(graph.nodes["partner1"]) != state_hash(graph.nodes["partner2"])
    assert sorted(path.name for path in (run / "partners").iterdir()) == ["wide-seed-0", "wide-seed-1000"]


def test_no_two_networks_of_a_graph_start_alike(toy, run: Path) -> None:
    rows = ((ON, ON, ON), (ON, ON, ON), (CUT, CUT, CUT))
    problem = toy()
    graph = problem.draw(Candidate(("narrow", "narrow"), rows), SPACE, 0, run)
    assert len({state_hash(node) for node in graph.nodes.values()}) == 3
    assert state_hash(graph.nodes["target"]) == state_hash(made(problem.target, 0))
    assert state_hash(graph.nodes["target"]) != state_hash(problem.draw(TAUGHT, SPACE, 1, run).nodes["target"])


def test_a_partner_of_other_data_is_refused(toy, run: Path) -> None:
    toy().trained("wide", 0, run)
    with pytest.raises(RunError, match="wide-seed-0 holds a network with other data"):
        toy(data=dataset(1)).trained("wide", 0, run)
    with pytest.raises(RunError, match="wide-seed-0 holds a network with other epochs: 2 there, 3 here"):
        toy(epochs=3).trained("wide", 0, run)


def test_damaged_weights_are_refused(toy, run: Path) -> None:
    toy().trained("wide", 0, run)
    home = run / "partners" / "wide-seed-0"
    whole = (home / "weights.safetensors").read_bytes()
    (home / "weights.safetensors").write_bytes(whole[:-4] + b"\0\0\0\1")
    with pytest.raises(RunError, match="the weights are not those of its card"):
        toy().trained("wide", 0, run)
    (home / "weights.safetensors").write_bytes(whole[:20])
    with pytest.raises(RunError, match="wide-seed-0 is damaged"):
        toy().trained("wide", 0, run)


def test_each_node_has_an_optimiser_of_its_own(toy, run: Path) -> None:
    """Limits on gradients, say, do not let one node act on another."""
    seen = []

    def fit(graph, train, *, optimizer, epochs, **options):
        seen.append((optimizer, epochs))

    problem = toy(fit=fit)
    graph = problem.draw(Candidate(("wide",), ((ON, ON), (ON, ON))), SPACE, 0, run)
    problem.train(graph, [])
    assert seen == [({"target": problem.optimizer, "partner1": problem.optimizer}, 2)]


def test_everybody_sees_the_view(toy, run: Path) -> None:
    graph = toy(view=torch.neg).draw(TAUGHT, SPACE, 0, run)
    assert graph.views == {"target": torch.neg, "partner1": torch.neg}


def test_what_is_compared_does_not_depend_on_addresses(toy) -> None:
    described = [toy(fit=lambda: None).to_data() for _ in range(2)]
    assert described[0] == described[1]
    assert toy(optimizer=partial(torch.optim.SGD, lr=0.1)).to_data() != toy().to_data()
    assert toy(optimizer=partial(torch.optim.SGD, lr=0.1), about="x").to_data() == toy(about="x").to_data()


def test_a_partner_that_nobody_makes_is_named(toy) -> None:
    with pytest.raises(UsageError, match=r"unknown partner 'huge': nothing makes it \(known: narrow, wide\)"):
        toy().check(Space(("narrow", "huge")))


def test_a_partner_called_target_is_refused(toy) -> None:
    with pytest.raises(UsageError, match="a partner cannot be called 'target'"):
        toy(partners={"target": nn.Flatten})


def test_batches_that_the_data_do_not_have_are_refused(toy) -> None:
    with pytest.raises(UsageError, match=r"batch size 31 is larger than the training split \(30 images\)"):
        toy(batch_size=31).check(SPACE)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(16, 16), nn.Linear(16, 3)
        self.second = self.first

    def forward(self, inputs: Tensor) -> Tensor:
        return self.last(self.second(self.first(inputs.flatten(1)).tanh()))


def test_a_partner_may_tie_its_weights(toy, run: Path) -> None:
    problem = toy(partners={"tied": Tied})
    first, again = (problem.trained("tied", 0, run) for _ in range(2))
    assert state_hash(first) == state_hash(again)
    assert again.second is again.first
