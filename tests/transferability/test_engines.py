from pathlib import Path

import torch
from torch import Tensor

from mentorch import zoo
from mentorch._errors import RunError
from mentorch.transferability import here
from mentorch.transferability._engines import arrays, attempt, tensors


def work(entry: zoo.Entry) -> tuple[Tensor, Tensor]:
    if entry.name == "bad":
        raise RunError("it is bad")
    if entry.name == "worse":
        raise KeyError("fc")
    return torch.full((2,), 1.5), torch.zeros(3)


def entry(name: str) -> zoo.Entry:
    return zoo.Entry(name, Path(name))


def test_one_after_the_other_and_failures_are_reasons():
    outcomes = {found.name: outcome for found, outcome in here(work, map(entry, ("a", "bad", "b", "worse")))}
    assert list(outcomes) == ["a", "bad", "b", "worse"]
    assert outcomes["bad"] == "it is bad"
    assert outcomes["worse"] == "KeyError: 'fc'"
    assert torch.equal(outcomes["b"][0], torch.tensor([1.5, 1.5]))


def test_nothing_is_done_before_it_is_asked_for():
    seen: list[str] = []
    found = here(lambda e: seen.append(e.name) or (torch.ones(1), torch.ones(1)), map(entry, "abc"))
    next(found)
    assert seen == ["a"]


def test_outcomes_survive_the_way_between_processes():
    nodes, edges = tensors(arrays(attempt(work, entry("a"))))
    assert torch.equal(nodes, torch.tensor([1.5, 1.5]))
    assert torch.equal(edges, torch.zeros(3))
    assert tensors(arrays(attempt(work, entry("bad")))) == "it is bad"
