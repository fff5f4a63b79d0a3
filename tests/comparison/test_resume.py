"""Going on with a comparison: what is kept, and what is refused."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mentorch import RunError, fit, freeze, losses
from mentorch._files import read_sealed, write_sealed
from mentorch.comparison import Method, Teacher, compare
from mentorch.data import Dataset, Normalize, PadCrop, load
from mentorch.methods import distill, supervise
from mentorch.networks import cnn_small, cnn_tiny


def taught(seed: int = 3, **options: Any) -> Method:
    torch.manual_seed(seed)
    teacher = freeze(cnn_small(10, 1))
    return Method(lambda network: distill(network, teacher, partial(losses.kd, **options)))


def make(**changed: Any) -> dict[str, Any]:
    options: dict[str, Any] = {"student": lambda: cnn_tiny(10, 1), "methods": {"kd": taught(temperature=4.0)}}
    return {**options, **changed}


def untrained(*args: Any, **options: Any) -> Any:
    raise AssertionError("trained")


@pytest.fixture
def kept(digits: Dataset, quick, tmp_path: Path) -> Path:
    """A folder with a finished comparison."""
    compare(**make(), data=digits, fit=quick, run=tmp_path)
    return tmp_path


def quick_but(**options: Any) -> Any:
    bound = {"optimizer": partial(torch.optim.Adam, lr=0.01), "epochs": 2, "tensorboard": False, "device": "cpu"}
    return partial(fit, **{**bound, **options})


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"student": lambda: cnn_small(10, 1)}, "nodes.student.parameters is 438 there and 5178 here"),
        ({"fit": quick_but(epochs=7)}, "fit.epochs is 2 there and 7 here"),
        ({"fit": quick_but(optimizer=partial(torch.optim.Adam, lr=0.1))}, "fit.optimizer is 'Adam.lr=0.01.' there"),
        ({"fit": quick_but(ema=0.9)}, "fit.ema is 'nothing' there and 0.9 here"),
        ({"methods": {"kd": taught(temperature=2.0)}}, "edges 2 is .* there and .* here"),
        ({"methods": {"kd": taught(seed=4, temperature=4.0)}}, "frozen.teacher is .* there"),
        ({"methods": {"kd": Method(supervise)}}, "edges 1 is .* there and .* here"),
        ({"batch_size": 32}, "batch_size is 64 there and 32 here"),
        ({"augment": PadCrop(1)}, "augment is None there and 'PadCrop.padding=1.' here"),
        ({"views": 2}, "versions is None there and 2 here"),
        ({"view": Normalize((0.5,), (2.0,))}, "view is None there"),
        ({"select": "last"}, "select is 'best' there and 'last' here"),
        ({"teacher": Teacher(cnn_tiny(10, 1))}, "teacher is None there"),
        ({"retrieval": True}, "retrieval is False there and True here"),
    ],
)
def test_a_finished_run_of_another_kind_is_refused_by_name(
    digits: Dataset, quick, kept: Path, changed: dict[str, Any], complaint: str
) -> None:
    before = {path: path.read_bytes() for path in kept.rglob("*.json")}
    with pytest.raises(RunError, match=f"fits/kd/seed-0 holds another run: {complaint}"):
        compare(**{**make(), "fit": quick, **changed}, data=digits, run=kept, resume=True)
    assert {path: path.read_bytes() for path in kept.rglob("*.json")} == before


def test_a_student_of_other_shapes_and_as_many_weights_is_refused(digits: Dataset, quick, tmp_path: Path) -> None:
    def network(*kernel: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(1, 4, kernel), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))

    methods = {"scratch": Method(supervise)}
    compare(lambda: network(1, 3), methods, digits, fit=quick, run=tmp_path)
    with pytest.raises(RunError, match=r"shapes is .* there"):
        compare(lambda: network(3, 1), methods, digits, fit=quick, run=tmp_path, resume=True)


def test_it_is_refused_before_a_new_method_is_trained(digits: Dataset, kept: Path) -> None:
    two = {"new": Method(supervise), "kd": taught(temperature=2.0)}
    with pytest.raises(RunError, match="edges 2"):
        compare(**make(methods=two), data=digits, fit=untrained, run=kept, resume=True)


def test_other_data_are_refused_also_without_results(quick, kept: Path) -> None:
    (kept / "results.json").unlink()
    with pytest.raises(RunError, match=r"data is .* there and .* here"):
        compare(**make(), data=load("digits", train_size=90), fit=quick, run=kept, resume=True)


def test_methods_and_seeds_are_added_to_what_is_kept(digits: Dataset, quick, kept: Path) -> None:
    calls = []

    def counting(graph, train, **options):
        calls.append(options["run"].relative_to(kept).as_posix())
        return quick(graph, train, **options)

    first = json.loads((kept / "results.json").read_text())["rows"][0]
    more = {"scratch": Method(supervise), "kd": taught(temperature=4.0)}
    other = partial(counting, **quick.keywords, log_every=5)
    options = {"seeds": (0, 1), "resume": True, "eval_batch_size": 16}
    results = compare(**make(methods=more), data=digits, fit=other, run=kept, **options)
    assert calls == ["fits/scratch/seed-0", "fits/scratch/seed-1", "fits/kd/seed-1"]
    assert first in results["rows"]
    assert not any("options" in row for row in results["rows"])


def test_a_row_that_does_not_say_how_it_was_trained_is_refused(digits: Dataset, quick, kept: Path) -> None:
    path = kept / "fits" / "kd" / "seed-0" / "result.json"
    row = read_sealed(path)
    del row["options"]
    write_sealed(path, row)
    with pytest.raises(RunError, match="does not say how it was trained: delete it"):
        compare(**make(), data=digits, fit=quick, run=kept, resume=True)
    path.unlink()
    assert len(compare(**make(), data=digits, fit=quick, run=kept, resume=True)["rows"]) == 1
