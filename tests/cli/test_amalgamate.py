import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

from mentorch import networks, zoo
from mentorch.data import load, only

from .conftest import call

QUICK = ("--epochs", "2", "--batch-size", "50", "--no-tensorboard", "--no-results", "--lr", "0.01", "--knn", "0")
LOW, HIGH = tuple("01234"), tuple("45678")


def specialist(folder: Path, classes: tuple[str, ...], network: str = "cnn_small", **card: Any) -> Path:
    """A zoo folder with a network that has not learned anything."""
    torch.manual_seed(len(folder.name))
    made = networks.build(network, num_classes=len(classes) or 5, in_channels=1)
    arguments = {"num_classes": len(classes) or 5, "in_channels": 1}
    size = zoo.Input(1, (8, 8), (0.3,), (0.4,), "gray")
    zoo.save(made, folder, zoo.Card(folder.name, network, arguments, classes=classes, **({"input": size} | card)))
    return folder


def rgb(folder: Path, classes: tuple[str, ...]) -> Path:
    """The same for photographs."""
    made = networks.build("cnn_tiny", num_classes=len(classes))
    size = zoo.Input(3, (8, 8), (0.5,) * 3, (0.5,) * 3)
    zoo.save(
        made, folder, zoo.Card(folder.name, "cnn_tiny", {"num_classes": len(classes)}, classes=classes, input=size)
    )
    return folder


@pytest.fixture
def teachers(mentorch, tmp_path: Path) -> tuple[Path, Path]:
    return specialist(tmp_path / "low", LOW), specialist(tmp_path / "high", HIGH, "cnn_tiny")


def results(run: str) -> dict[str, Any]:
    return json.loads((Path("runs") / run / "results.json").read_text())


def test_all_baselines_are_in_the_table_and_the_results(teachers) -> None:
    low, high = teachers
    words = ("--teachers", f"low={low}", f"high={high}", "--student", "cnn_tiny", "--methods", "scratch", "kd", "cfl")
    result = call("amalgamate", *QUICK, *words, "--train-size", "100", "--pictures", "40", "--name", "a")
    assert result.code == 0, result.err
    found = results("a")
    assert [row["method"] for row in found["rows"]] == ["scratch", "kd", "cfl"]
    assert found["data"]["classes"] == 9  # 4 is known to both
    whole = load("digits", train_size=100)
    for row in found["rows"]:
        test = row["test"]["best"]
        assert test["accuracy, joint"] == test["accuracy"]
        assert test["accuracy, task"] == (test["accuracy, low"] + test["accuracy, high"]) / 2
    assert {s["metric"] for s in found["summary"]} >= {"accuracy, joint", "accuracy, low", "accuracy, high"}
    for name, classes in (("low", LOW), ("high", HIGH)):
        own = only(whole, classes).test
        network, card = zoo.load(low if name == "low" else high)
        with torch.no_grad():
            logits = network((own.images.float() / 255 - 0.3) / 0.4)
        expected = (logits.argmax(1) == own.labels).double().mean().item()
        assert found["teachers"][name]["test"] == {"accuracy": pytest.approx(expected), "images": len(own)}
        assert card.classes == classes
    sizes = [found["teachers"][name]["parameters"] for name in ("low", "high")]
    assert found["ensemble"]["parameters"] == sum(sizes)
    for word in ("all teachers", "scratch", "cfl", "low (cnn_small)", "multiply-adds"):
        assert word in result.out


def test_what_is_kept(teachers) -> None:
    low, high = teachers
    words = ("--teachers", f"low={low}", f"high={high}", "--student", "cnn_tiny", "--methods", "cfl", "layerwise")
    result = call(
        "amalgamate", *QUICK, *words, "--save-students", "all", "--train-size", "100", "--pictures", "27", "--name", "a"
    )
    assert result.code == 0, result.err
    run = Path("runs/a")
    card = zoo.read(run / "nodes/cfl-seed-0")
    assert card.classes == tuple("012345678")
    assert card.training["outputs"][4] == {"output": 4, "class": "4", "of": {"low": 4, "high": 0}}
    assert card.parents == tuple(zoo.read(folder).hash for folder in (low, high))
    blocks = load_file(run / "fits/cfl/seed-0/blocks.safetensors")
    assert any("extract" in key for key in blocks)
    assert any("encode" in key for key in load_file(run / "fits/layerwise/seed-0/blocks.safetensors"))
    spaces = load_file(run / "spaces/cfl-seed-0.safetensors")
    assert spaces["common.student"].shape == spaces["common.low"].shape == (27, 128)
    assert spaces["features.high"].shape == (27, 8)
    assert spaces["labels"].bincount().tolist() == [3] * 9
    again = call("run", run / "recipe.yaml", "--name", "b", "--quiet")
    assert again.code == 0, again.err
    pairs = zip(results("a")["rows"], results("b")["rows"], strict=True)
    assert all(one["test"] == other["test"] for one, other in pairs)


def test_a_finished_run_is_kept_when_it_is_resumed(teachers) -> None:
    words = ("amalgamate", *QUICK, "--teachers", *teachers, "--methods", "kd", "--name", "a")
    assert call(*words).code == 0
    before = results("a")
    assert call(*words, "--resume").code == 0
    after = results("a")
    assert after["rows"] == before["rows"]
    assert after["ensemble"]["test"] == before["ensemble"]["test"]


def test_some_classes_calibrated_teachers_and_other_targets(teachers) -> None:
    words = ("--teachers", *teachers, "--methods", "kd", "--target", "energy", "--temperature", "2", "--calibrate")
    result = call("amalgamate", *QUICK, *words, "--classes", "7", "2", "4", "--name", "a")
    assert result.code == 0, result.err
    assert "temperatures: teacher1 " in result.err
    assert results("a")["data"]["classes"] == 3
    assert [entry["class"] for entry in results("a")["label_space"]] == ["7", "2", "4"]
    recipe = yaml.safe_load(Path("runs/a/recipe.yaml").read_text())
    assert (recipe["target"], recipe["calibrate"], recipe["classes"]) == ("energy", True, ["7", "2", "4"])


def pictures(root: Path, classes: tuple[str, ...], size: int = 12) -> str:
    """A folder of random images whose brightness is their class."""
    draw = np.random.default_rng(0)
    for part, count in (("train", 12), ("validation", 4), ("test", 4)):
        for k, name in enumerate(classes):
            (root / part / name).mkdir(parents=True)
            for i in range(count):
                values = draw.integers(0, 60, (size, size, 3)) + 60 * k
                Image.fromarray(values.astype(np.uint8)).save(root / part / name / f"{i}.png")
    return f"folder:{root}"


def test_one_command_trains_the_teachers_on_data_of_their_own(mentorch, tmp_path: Path) -> None:
    birds = pictures(tmp_path / "birds", ("crow", "duck"))
    clothes = pictures(tmp_path / "clothes", ("coat", "hat", "sock"), size=9)
    words = ("--teachers", "birds=cnn_small", "clothes=cnn_tiny", "--data", f"{birds}+{clothes}", "--image-size", "8")
    quick = [*QUICK[:-6], "--lr", "0.01", "--batch-size", "10", "--no-results", "--knn", "0"]
    result = call("amalgamate", *quick, *words, "--methods", "kd", "--student", "cnn_tiny", "--name", "a")
    assert result.code == 0, result.err
    assert "training birds cnn_small on 24 images" in result.err
    found = results("a")
    assert [entry["class"] for entry in found["label_space"]] == ["crow", "duck", "coat", "hat", "sock"]
    assert found["teachers"]["clothes"]["test"]["images"] == 12
    assert zoo.read("runs/a/nodes/clothes").classes == ("coat", "hat", "sock")
    given = ("--teachers", "birds=runs/a/nodes/birds", "runs/a/nodes/clothes", "--image-size", "10")
    again = call("amalgamate", *quick, *given, "--data", f"{birds}+{clothes}", "--methods", "kd", "--name", "b")
    assert again.code == 0, again.err  # made for 8x8, they see the 10x10 images through a view of their own


def test_images_without_labels(teachers) -> None:
    words = ("--teachers", *teachers, "--data", "digits", "--test", "digits", "--methods", "kd", "--name", "a")
    assert call("amalgamate", *[w for w in QUICK if w not in ("--knn", "0")], *words).code == 0
    test = results("a")
    assert "training images without labels; validation and test digits" in test["data"]["note"]
    assert test["data"]["train"] == len(load("digits").train)  # those of class 9 as well
    assert test["data"]["test"] < len(load("digits").test)


def test_a_folder_of_images_without_labels(mentorch, tmp_path: Path) -> None:
    birds = pictures(tmp_path / "birds", ("crow", "duck"))
    given = tuple(
        f"{name}={rgb(tmp_path / name, own)}" for name, own in (("b", ("crow", "duck")), ("c", ("hat", "sock")))
    )
    words = ("amalgamate", *QUICK[:-2], "--batch-size", "10", "--methods", "kd", "--student", "cnn_tiny")
    pool = tmp_path / "pool"
    for file in (tmp_path / "birds").rglob("*.png"):
        (pool / file.parent.name).mkdir(parents=True, exist_ok=True)
        (pool / file.parent.name / f"{file.parent.parent.name}-{file.name}").write_bytes(file.read_bytes())
    own = ("--data", f"images:{pool}", "--image-size", "8")
    result = call(*words, "--teachers", *given, *own, "--test", birds, "--name", "a")
    assert result.code == 0, result.err
    assert (results("a")["data"]["train"], results("a")["data"]["test"]) == (40, 8)
    assert "has no labels: name labelled data" in call(*words, "--teachers", *given, *own).error
    assert "has no labels to test with" in call(*words, "--teachers", *given, *own, "--test", f"images:{pool}").error
    fresh = ("b=cnn_tiny", "c=cnn_tiny", "--data", f"images:{pool}+images:{tmp_path / 'birds'}", "--test", birds)
    assert f"teacher b (cnn_tiny) is to be trained, and images:{pool}" in call(*words, "--teachers", *fresh).error
    (tmp_path / "none").mkdir()
    empty = ("--data", f"images:{tmp_path / 'none'}", "--test", birds)
    assert "none holds no image" in call(*words, "--teachers", *given, *empty).error


def test_a_student_whose_head_has_another_width(teachers) -> None:
    result = call("amalgamate", *QUICK, "--teachers", *teachers, "--methods", "kd", "--student", teachers[0])
    assert result.code == 2
    assert "knows 5 classes, 'digits' has 9" in result.error


def test_a_dry_run_draws_every_graph(teachers) -> None:
    words = ("--teachers", *teachers, "--methods", "scratch", "kd", "cfl", "layerwise", "--student", "cnn_medium")
    result = call("amalgamate", *QUICK, *words, "--dry-run")
    assert result.code == 0, result.err
    assert "teacher1.layer2, teacher2.layer2 -> student.layer3: CommonFeatures  x 10" in result.err
    assert result.err.count("Layerwise  x 1") == 3
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--teachers", "LOW"), "teachers: amalgamation needs at least two: one alone is for 'mentorch distill'"),
        (("--teachers", "LOW", "BARE"), "bare does not say what its classes are: write them into its card"),
        (("--teachers", "LOW", "cnn_small"), "is to be trained: --data names one data set for each of the 2 teachers"),
        (("--teachers", "LOW", "RGB"), "reads images of 3 channels, those of 'digits' have 1"),
        (("--teachers", "LETTERS", "LETTERS2"), "no class of digits is one of the teachers' (a, b, c"),
        (("--teachers", "LOW", "HIGH", "--classes", "1", "12"), "unknown class '12'"),
    ],
)
def test_wrong_use_is_one_line(teachers, tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    places = {"LOW": teachers[0], "HIGH": teachers[1]}
    if "BARE" in words:
        places["BARE"] = specialist(tmp_path / "bare", ())
    if "LETTERS" in words:
        places |= {name: specialist(tmp_path / name.lower(), tuple("abc")) for name in ("LETTERS", "LETTERS2")}
    if "RGB" in words:
        network = networks.build("cnn_tiny", num_classes=2)
        zoo.save(network, tmp_path / "rgb", zoo.Card("rgb", "cnn_tiny", {"num_classes": 2}, classes=("a", "b")))
        places["RGB"] = tmp_path / "rgb"
    said = []
    for word in words:
        name, equals, place = word.partition("=")
        said.append(f"{name}={places[place]}" if equals and place in places else places.get(word, word))
    result = call("amalgamate", *QUICK, *said)
    assert result.code == 2, result.err
    assert message in result.error
