"""The loop: a run that is killed anywhere and resumed ends with the bits of one that was not."""

import random
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from mentorch import Edge, Graph, On, fit, freeze, gates
from mentorch.losses import kd
from mentorch.training._checkpoint import load

Request = Callable[..., dict[str, Any]]

CASES = ["batches", "loader", "augmented", "scaled"]
# in what, and at which call of it within the process (drawn between the two): progress is made, and epochs are crossed
KILLS = [("step", 2, 7), ("forward", 2, 9), ("write", 2, 6), ("step", 2, 7), ("rename", 2, 4), ("remove", 1, 4)]


@pytest.fixture(scope="session")
def uninterrupted(killable: Request) -> Callable[[str], dict[str, Any]]:
    """What a case ends with if nobody disturbs it, without a run folder."""
    known: dict[str, dict[str, Any]] = {}

    def get(case: str) -> dict[str, Any]:
        if case not in known:
            known[case] = killable(case=case)
            assert known[case]["status"] == 0
            assert "error" not in known[case], known[case]
        return known[case]

    return get


def same(one: dict[str, Any], other: dict[str, Any]) -> None:
    for part in ("nodes", "history", "state"):
        names = one[part].keys() | other[part].keys()
        assert [name for name in sorted(names) if one[part].get(name) != other[part].get(name)] == []


@pytest.mark.parametrize("case", CASES)
def test_killed_and_resumed_ends_with_the_same_bits(
    case: str, killable: Request, uninterrupted: Callable[[str], dict[str, Any]], tmp_path: Path
) -> None:
    draw = random.Random(case)
    for kind, low, high in draw.sample(KILLS, len(KILLS)):
        end = {kind: draw.randint(low, high)}
        left = killable(case=case, run=tmp_path, end=end)
        assert left["status"] == -9, (end, left)
    left = killable(case=case, run=tmp_path)
    assert left["status"] == 0, left
    same(left, uninterrupted(case))


@pytest.mark.parametrize("case", CASES)
def test_a_run_folder_changes_no_bit(
    case: str, killable: Request, uninterrupted: Callable[[str], dict[str, Any]], tmp_path: Path
) -> None:
    same(killable(case=case, run=tmp_path), uninterrupted(case))
    # a finished run is not trained again, and gives the same answer
    same(killable(case=case, run=tmp_path), uninterrupted(case))


def test_two_processes_train_what_one_does_with_a_batch_twice_as_large(killable: Request, tmp_path: Path) -> None:
    left = killable(case="spread", run=tmp_path)
    assert "error" not in left, left
    (first, second), alone = left["ranks"], left["alone"]
    assert first["weights"] == second["weights"]
    for name, value in alone["weights"].items():
        torch.testing.assert_close(torch.tensor(first["weights"][name]), torch.tensor(value), rtol=1e-4, atol=1e-6)
    assert first["samples"] == second["samples"] == alone["samples"]
    for mine, theirs, one in zip(first["records"], second["records"], alone["records"], strict=True):
        assert {**mine, "seconds": 0} == {**theirs, "seconds": 0}
        assert {**mine["train"]["edges"]} == pytest.approx(one["train"]["edges"], rel=1e-4)
        assert mine["validation"]["student"] == pytest.approx(one["validation"]["student"], rel=1e-4)
        assert (mine["step"], mine["progress"], mine["lr"]) == (one["step"], one["progress"], one["lr"])
    # files are written once, by the first process
    assert len(list((tmp_path / "tensorboard").iterdir())) == 1
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["000000008", "000000009"]
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 3


class Waits(TorchDispatchMode):
    """Counts what would wait for a device: reading a scalar, or asking which elements are not zero."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        aten = torch.ops.aten
        self.count += func in (aten._local_scalar_dense.default, aten.nonzero.default, aten.equal.default)
        return func(*args, **(kwargs or {}))


def test_nothing_waits_for_the_device_between_readings(monkeypatch: pytest.MonkeyPatch) -> None:
    """With clipping, averages, accumulation and moving gates; read every third step, and at the end of the epoch."""
    torch.manual_seed(0)
    edges = [
        Edge("labels", "student", F.cross_entropy, gates.Linear(1.0, 0.5)),
        Edge("teacher.0", "student.0", lambda s, t: (s - t).square().mean(1)),
        Edge("teacher", "student", kd, gates.Between(0.0, 0.5)),
    ]

    def network() -> nn.Module:
        return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(8, 3))

    graph = Graph({"teacher": freeze(network()), "student": network()}, edges)
    train = [(torch.randn(6, 4), torch.randint(0, 3, (6,))) for _ in range(14)]
    seen: list[int] = []
    waits = Waits()
    whole = torch.Tensor.tolist  # reads without an operator

    def tolist(tensor: torch.Tensor) -> list[Any]:
        waits.count += 1
        return whole(tensor)

    monkeypatch.setattr(torch.Tensor, "tolist", tolist)
    options = {"clip_norm": 1.0, "clip_value": 0.1, "ema": 0.9, "accumulate": 2, "log_every": 3}
    callbacks = [On("start", lambda _: waits.__enter__()), On("step", lambda _: seen.append(waits.count))]
    optimizer = partial(torch.optim.SGD, lr=0.1, momentum=0.9)
    fit(graph, train, optimizer=optimizer, epochs=1, schedule=gates.Cosine(), callbacks=callbacks, **options)
    waits.__exit__(None, None, None)
    per_step = [after - before for before, after in pairwise([0, *seen])]
    read = max(per_step)
    assert 0 < read < 10
    assert per_step == [0, 0, read, 0, 0, read, 0]


def test_the_time_before_a_kill_is_counted(killable: Request, tmp_path: Path) -> None:
    """Seconds are those of all processes that worked on a run, as far as their work was kept."""
    killable(case="scaled", run=tmp_path, end={"step": 4})
    one = load(tmp_path / "checkpoints")["seconds"]
    killable(case="scaled", run=tmp_path, end={"step": 2})
    assert 0 < one < load(tmp_path / "checkpoints")["seconds"]
