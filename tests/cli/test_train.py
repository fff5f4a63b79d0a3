import json
from pathlib import Path

import pytest

from mentorch import zoo
from mentorch.comparison import measure
from mentorch.data import Normalize, load

from .conftest import QUICK, call, histories, numbers

BASE = ("--lr", "0.01", "--epochs", "4", "--network", "cnn_tiny")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, ...], dict[str, str]]:
    """Histories of runs that options are compared with, by the words that they need beside them."""
    root = tmp_path_factory.mktemp("plain")
    found = {}
    for words in {beside for beside, _ in EFFECTS}:
        name = f"r{len(found)}"
        assert call("train", *QUICK, *BASE, *words, "--out", root, "--name", name).code == 0
        found[words] = histories(root / name)
    return found


SGD = ("--optimizer", "sgd")
SLOW = ("--network", "cnn_small", "--lr", "1e-7")  # nothing improves: the plateau and early stopping have to act
STILL = (*SLOW, "--lr-patience", "0")
EFFECTS: list[tuple[tuple[str, ...], tuple[str, ...]]] = [
    ((), ("--lr", "0.02")),
    ((), ("--epochs", "3")),
    ((), ("--batch-size", "25")),
    ((), ("--accumulate", "2")),
    ((), ("--train-size", "90")),
    ((), ("--val-fraction", "0.3")),
    ((), ("--split-seed", "1")),
    ((), ("--augment", "standard")),
    ((), ("--protocol", "public")),
    ((), ("--network", "cnn_small")),
    *(((), ("--optimizer", name)) for name in ("adamax", "rmsprop", "sgd", "adagrad", "adadelta")),
    (("--weight-decay", "0.1"), ("--optimizer", "adamw")),
    ((), ("--betas", "0.5", "0.9")),
    ((), ("--weight-decay", "0.1")),
    ((), ("--keras-compat",)),
    ((), ("--lr-schedule", "cosine")),
    ((), ("--lr-schedule", "multistep")),
    ((), ("--lr-warmup", "0.5")),
    ((), ("--lr-time-decay", "0.1")),
    ((), ("--clip-norm", "0.01")),
    ((), ("--clip-value", "0.001")),
    ((), ("--ema", "0.9")),
    ((), ("--seeds", "1")),
    ((), ("--precision", "bf16-mixed")),
    (("--optimizer", "rmsprop"), ("--rho", "0.5")),
    (("--optimizer", "adadelta"), ("--rho", "0.5")),
    (("--optimizer", "rmsprop"), ("--momentum", "0.5")),
    (SGD, ("--momentum", "0.9")),
    ((*SGD, "--momentum", "0.9"), ("--nesterov",)),
    (("--lr-schedule", "multistep"), ("--lr-milestones", "0.1")),
    (("--lr-schedule", "multistep"), ("--lr-factor", "0.5")),
    (STILL, ("--lr-patience", "1")),
    (STILL, ("--lr-factor", "0.5")),
    (STILL, ("--lr-min", "1e-9")),
    ((*SLOW, "--epochs", "11"), ("--lr-schedule", "constant")),
    (STILL, ("--early-stop", "1")),
]


@pytest.mark.parametrize(("beside", "words"), EFFECTS, ids=lambda words: "_".join(words).replace("--", "") or "plain")
def test_an_option_changes_the_run(quick, plain, beside: tuple[str, ...], words: tuple[str, ...]) -> None:
    result = quick("train", *BASE, *beside, *words, "--name", "r")
    assert result.code == 0, result.err
    assert histories(Path("runs/r")) != plain[beside]


def test_the_same_words_give_the_same_bits(quick, plain) -> None:
    assert quick("train", *BASE, "--name", "r").code == 0
    assert histories(Path("runs/r")) == plain[()]


def test_early_stopping_and_the_plateau_act_when_they_should(quick) -> None:
    still = ("--lr", "1e-12")
    assert quick("train", "--epochs", "9", *still, "--lr-patience", "2", "--early-stop", "6", "--name", "r").code == 0
    (row,) = numbers(Path("runs/r"))
    lines = [json.loads(line) for line in (Path("runs/r") / row["history"]).read_text().splitlines()]
    assert row["stopped"] == "no improvement of accuracy in 6 epochs"
    assert (row["epochs"], row["best_epoch"]) == (7, 1)
    assert [round(line["lr"]["all"] * 1e12, 3) for line in lines] == [1, 1, 1, 1, 1, 1, 1]  # never below --lr-min
    free = ("--lr-min", "0", "--lr-time-decay", "0")
    assert quick("train", "--epochs", "6", *still, "--lr-patience", "1", *free, "--name", "s").code == 0
    lines = [json.loads(x) for x in (Path("runs/s/fits/scratch/seed-0/metrics.jsonl")).read_text().splitlines()]
    assert [line["lr"]["all"] for line in lines] == pytest.approx([1e-12, 1e-12, 1e-12, 1e-13, 1e-13, 1e-14])


def test_a_trained_network_is_kept_with_a_card_that_is_true(quick, taught: Path) -> None:
    assert quick("train", *BASE, "--seeds", "0", "1", "--name", "r").code == 0
    results = json.loads(Path("runs/r/results.json").read_text())
    assert results["kind"] == "train"
    assert results["teacher"] is None
    kept = [row for row in results["rows"] if row["model"]]
    assert len(kept) == 1
    network, card = zoo.load(Path("runs/r") / kept[0]["model"])
    data = load("digits", train_size=100)
    assert card.name == f"r/scratch-seed-{kept[0]['seed']}"
    assert card.classes == data.classes
    assert card.input is not None
    view = Normalize(card.input.mean, card.input.std)
    assert measure(network, data.test, view=view)["accuracy"] == kept[0]["test"]["best"]["accuracy"]
    assert card.metrics["test"]["best"]["accuracy"] == kept[0]["test"]["best"]["accuracy"]


def test_a_kept_network_is_trained_further_with_its_own_normalisation(quick, taught: Path) -> None:
    assert quick("train", "--network", taught, "--lr", "1e-9", "--name", "r").code == 0
    fresh = ("--network", "cnn_small", "--weights", taught / "model.safetensors", "--lr", "1e-9")
    assert quick("train", *fresh, "--name", "s").code == 0
    first, second = (zoo.read(Path("runs") / name / "nodes/scratch-seed-0") for name in "rs")
    assert first.input is not None
    assert second.input is not None
    assert first.input.mean == zoo.read(taught).input.mean
    assert second.input.mean != first.input.mean
    assert numbers(Path("runs/r"))[0]["test"]["best"]["accuracy"] > 0.5


def test_its_recipe_repeats_it_exactly(quick, mentorch) -> None:
    words = ("--optimizer", "sgd", "--momentum", "0.9", "--augment", "standard", "--seeds", "0", "3", "--ema", "0.9")
    assert quick("train", *BASE, *words, "--name", "r").code == 0
    assert mentorch("run", "runs/r/recipe.yaml", "--name", "again").code == 0
    assert numbers(Path("runs/r")) == numbers(Path("runs/again"))
    assert histories(Path("runs/r")) == histories(Path("runs/again"))


def test_dry_run_trains_nothing(mentorch) -> None:
    result = mentorch("train", "--network", "resnet8", "--dry-run")
    assert result.code == 0
    assert "student  learning  ResNet" in result.err
    assert not Path("runs").exists()


def test_images_in_folders_are_data_too(mentorch, tmp_path: Path) -> None:
    from PIL import Image

    for number, label in enumerate(("cat", "dog")):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for position in range(20):
            Image.new("RGB", (12, 16), (90 * number, position, 0)).save(tmp_path / f"photos/{label}/{position}.png")
    words = ("--data", "folder:photos", "--image-size", "8", "--batch-size", "8", "--epochs", "1", "--no-tensorboard")
    result = mentorch("train", *words, "--no-results", "--network", "cnn_tiny")
    assert result.code == 0, result.err
    assert "no test folder" in json.loads(Path("runs/train-folder-photos/results.json").read_text())["data"]["note"]
