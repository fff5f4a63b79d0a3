from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

import mentorch
from mentorch import RunError, UsageError, methods
from mentorch.methods._structural._in_turn import check_drawn, check_turns, place, turn_options

made = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=1.0)
factory = partial(torch.optim.SGD, lr=1.0)


@pytest.mark.parametrize("given", [made, {"student": made}, {"a": factory, "b": made}], ids=["one", "each", "some"])
def test_an_optimiser_that_is_made_already_would_carry_its_momentum_along(given: object) -> None:
    with pytest.raises(UsageError, match="each turn has an optimiser of its own"):
        check_turns(partial(mentorch.fit, optimizer=given), 2, "turn", None, resume=False)


@pytest.mark.parametrize("given", [factory, {"a": factory}], ids=["one", "each"])
def test_factories_are_right(given: object) -> None:
    check_turns(partial(mentorch.fit, optimizer=given), 2, "turn", None, resume=False)
    check_turns(lambda graph: mentorch.fit(graph, [], optimizer=given, epochs=1), 1, "turn", None, resume=False)


@pytest.mark.parametrize(
    ("begun", "lost"), [((), None), ((1,), None), ((1, 2), None), ((2,), 1), ((1, 3), 2), ((3,), 1)]
)
def test_only_what_comes_last_may_be_missing(tmp_path: Path, begun: tuple[int, ...], lost: int | None) -> None:
    for number in begun:
        (place(tmp_path, "turn", number) / "checkpoints" / "000000004").mkdir(parents=True)
    check_turns(mentorch.fit, 3, "turn", tmp_path, resume=False)
    if lost is None:
        check_turns(mentorch.fit, 3, "turn", tmp_path, resume=True)
        return
    with pytest.raises(RunError, match=f"turn-{lost} has no checkpoint, but a later turn has"):
        check_turns(mentorch.fit, 3, "turn", tmp_path, resume=True)


def test_what_fit_is_told(tmp_path: Path) -> None:
    assert turn_options(None, "turn", 2, resume=False) == {}
    assert turn_options(tmp_path, "turn", 2, resume=True) == {"run": tmp_path / "turn-2", "resume": True}


def test_a_copy_is_not_the_network() -> None:
    network = nn.Linear(2, 2)
    graph = methods.supervise(network)
    assert check_drawn(graph, network, "turn", 1) is graph
    with pytest.raises(UsageError, match="turn 1 is not in the graph"):
        check_drawn(graph, nn.Linear(2, 2), "turn", 1)
