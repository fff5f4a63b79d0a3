"""Methods that make a network of others, by two processes: the result of one, where batch norm does not decide."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from mentorch import zoo
from mentorch.networks import build

SHORT = ("--train-size", "60", "--batch-size", "20", "--epochs", "2", "--knn", "0")
SMALL = ("--size", "16", "--train-size", "16", "--batch-size", "8", "--epochs", "1", "--search-epochs", "1")
ALL = ("--optimizer", "sgd", "--lr", "0.002", "--no-tensorboard", "--no-results", "--save-students", "all")
TEACHERS = ("--teachers", "low=zoo/low", "high=zoo/high", "--student", "cnn_tiny", "--pictures", "0")
COMMANDS = {
    "amalgamate": (*SHORT, *TEACHERS, "--methods", "cfl", "layerwise", "recombine"),
    "evolve": (*SHORT, "--network", "cnn_tiny", "--generations", "2"),
    "branch": (*SMALL, "--tasks", "segmentation", "depth", "--methods", "branch"),
}


@pytest.fixture
def specialists(tmp_path: Path) -> Path:
    """A folder with two networks that know nothing yet, but different digits."""
    for seed, (name, classes) in enumerate({"low": "01234", "high": "56789"}.items()):
        torch.manual_seed(seed)
        arguments = {"num_classes": 5, "in_channels": 1}
        size = zoo.Input(1, (8, 8), (0.3,), (0.4,), "gray")
        card = zoo.Card(name, "cnn_tiny", arguments, classes=tuple(classes), input=size)
        zoo.save(build("cnn_tiny", **arguments), tmp_path / "zoo" / name, card)
    return tmp_path


def near(one: Any, other: Any) -> bool:
    """Whether two results agree but for rounding and for what they cost."""
    if isinstance(one, dict):
        costs = ("seconds", "peak_memory", "model", "history", "hash")  # the last is of all bits of a teacher
        return one.keys() == other.keys() and all(near(one[key], other[key]) for key in one if key not in costs)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(near, one, other))
    return other == (pytest.approx(one, rel=1e-5, abs=1e-6) if isinstance(one, float) else one)


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_two_processes_end_where_one_does(
    command: str, specialists: Path, together: Callable[..., list[dict[str, Any]]]
) -> None:
    for world in (1, 2):
        words = [command, *COMMANDS[command], *ALL, "--name", str(world)]
        for end in together("command", world=world, words=words, folder=specialists, norms=False):
            assert end["code"] == 0, end["err"]
    one, two = (specialists / "runs" / name for name in "12")
    assert near(*(json.loads((run / "results.json").read_text())["rows"] for run in (one, two)))
    kept = sorted((one / "nodes").rglob("*.safetensors"))
    assert len(kept) > 1
    for path in kept:
        torch.testing.assert_close(load_file(two / path.relative_to(one)), load_file(path), rtol=1e-5, atol=1e-6)
    assert json.loads((two / "environment.json").read_text())["processes"] == 2
