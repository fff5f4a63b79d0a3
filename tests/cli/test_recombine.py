import json
from pathlib import Path
from typing import Any

import pytest
import torch

from mentorch import networks, zoo
from mentorch.data import load

from .conftest import call
from .test_amalgamate import QUICK, pictures, results, specialist

LOW, HIGH = tuple("01234"), tuple("56789")


@pytest.fixture
def teachers(mentorch, tmp_path: Path) -> tuple[str, ...]:
    return tuple(f"{name}={specialist(tmp_path / name, own)}" for name, own in (("low", LOW), ("high", HIGH)))


def words(teachers: tuple[str, ...], *more: str) -> tuple[Any, ...]:
    own = ("--teachers", *teachers, "--methods", "recombine", "--train-size", "100", "--rounds", "2", "--keep", "0.5")
    return ("amalgamate", *QUICK, *own, "--save-students", "all", *more)


def test_rounds_end_at_the_size_that_was_asked_for(teachers) -> None:
    assert call(*words(teachers, "--name", "a")).code == 0
    row = results("a")["rows"][0]
    rounds = json.loads(Path("runs/a/fits/recombine/seed-0/rounds.json").read_text())["rounds"]
    assert [entry["round"] for entry in rounds] == [0, 1, 2]
    whole, half = rounds[0]["parameters"], rounds[2]["parameters"]
    assert 0.4 * whole < half <= 0.5 * whole
    assert row["parameters"] == row["size"]["parameters"] == half
    assert row["epochs"] == 2  # one for each round: as many as the other methods have in one go
    network, card = zoo.load("runs/a/nodes/recombine-seed-0")
    assert card.classes == (*LOW, *HIGH)
    assert card.training["outputs"][7] == {"output": 7, "class": "7", "of": {"high": 2}}
    assert sum(p.numel() for p in network.parameters()) == half
    test = load("digits", train_size=100).test
    with torch.no_grad():
        said = network((test.images.float() / 255 - 0.3) / 0.4).argmax(1)
    assert row["test"]["best"]["accuracy"] == pytest.approx((said == test.labels).double().mean().item())


def test_the_table_has_its_own_size(teachers) -> None:
    result = call(*words(teachers, "--name", "a"))
    size = results("a")["rows"][0]["size"]
    assert f"{size['parameters']:,}" in result.out
    assert f"{size['macs']:,}" in result.out


def test_finished_rounds_are_kept_when_it_is_resumed(teachers) -> None:
    assert call(*words(teachers, "--name", "a")).code == 0
    assert call(*words(teachers, "--name", "b")).code == 0
    place = Path("runs/b/fits/recombine/seed-0")
    (place / "result.json").unlink()
    (Path("runs/b") / "results.json").unlink()
    result = call(*words(teachers, "--name", "b", "--resume"))
    assert result.code == 0, result.err
    assert results("a")["rows"][0]["test"] == results("b")["rows"][0]["test"]


def test_teachers_that_are_trained_here_see_images_alike(mentorch, tmp_path: Path) -> None:
    data = f"{pictures(tmp_path / 'birds', ('crow', 'duck'))}+{pictures(tmp_path / 'clothes', ('coat', 'hat'), size=9)}"
    own = ("--teachers", "birds=cnn_tiny", "clothes=cnn_tiny", "--data", data, "--image-size", "8")
    quick = ("--epochs", "1", "--batch-size", "10", "--no-tensorboard", "--no-results", "--knn", "0")
    result = call("amalgamate", *quick, *own, "--methods", "recombine", "--rounds", "1", "--name", "a")
    assert result.code == 0, result.err
    birds, clothes = (zoo.read(f"runs/a/nodes/{name}").input for name in ("birds", "clothes"))
    assert birds == clothes == zoo.read("runs/a/nodes/recombine-seed-0").input


def test_what_cannot_stand_side_by_side(teachers, tmp_path: Path) -> None:
    shared = specialist(tmp_path / "shared", tuple("45678"))
    assert "none may be left out or shared by two" in call(*words((teachers[0], str(shared)))).error
    assert "none may be left out" in call(*words(teachers, "--classes", "1", "6")).error
    tiny = specialist(tmp_path / "tiny", HIGH, "cnn_tiny")
    assert "another architecture" in call(*words((teachers[0], str(tiny)))).error
    made = networks.build("cnn_small", num_classes=5, in_channels=1)
    size = zoo.Input(1, (8, 8), (0.0,), (1.0,), "gray")
    arguments = {"num_classes": 5, "in_channels": 1}
    zoo.save(made, tmp_path / "raw", zoo.Card("raw", "cnn_small", arguments, classes=HIGH, input=size))
    error = call(*words((teachers[0], str(tmp_path / "raw")))).error
    assert "'low' and 'teacher2' see it in different sizes or normalisations" in error
    result = call("amalgamate", *QUICK, "--teachers", *teachers, "--methods", "kd", "--keep", "0.5")
    assert "keep has no effect with methods kd (only recombine)" in result.error
