import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from mentorch import zoo
from mentorch.cli import _branch
from mentorch.data import Batches, Normalize, dense
from mentorch.metrics import segmentation
from mentorch.networks import Branched, cost, state_hash

from .conftest import call

TASKS = ("segmentation", "depth", "normals")
QUICK = ("--size", "16", "24", "--train-size", "24", "--batch-size", "8", "--epochs", "1", "--search-epochs", "1")
QUICK += ("--lr", "0.01", "--no-tensorboard")
EVERY = ("labels", "kd", "branch", "kd_branched")


def results(run: Path) -> dict[str, Any]:
    return json.loads((run / "results.json").read_text())


def timeless(run: Path) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in results(run)["rows"]]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of everything, two seeds, by its other name."""
    root = tmp_path_factory.mktemp("branched")
    words = ("--tasks", *TASKS, *QUICK, "--methods", *EVERY, "--seeds", "0", "1", "--out", root, "--name", "b")
    result = call("amalgamate", *words)
    assert result.code == 0, result.err
    assert "branch seed 0: branches leave at" in result.err + result.out
    return root / "b"


def test_teachers_baselines_and_students_of_one_budget(ran: Path) -> None:
    found = results(ran)
    assert (found["kind"], found["tasks"]) == ("branch", list(TASKS))
    assert [(row["method"], row["seed"]) for row in found["rows"]] == [(m, s) for s in (0, 1) for m in EVERY]
    rows = {(row["method"], row["seed"]): row for row in found["rows"]}
    for row in rows.values():
        assert (row["epochs"], row["trained_samples"]) == (6, 6 * 24)
        assert {name.split()[0] for name in row["test"]["last"]} == set(TASKS)
        assert {name.split()[0] for name in row["validation"]["last"]} == set(TASKS)
    for seed in (0, 1):
        own = rows["branch", seed]
        assert rows["kd_branched", seed]["branches"] == own["branches"]
        assert {task: depth for task, (depth, _) in own["branches"].items()} == own["depths"]
        for task, depth in own["depths"].items():
            held = own["held_out"][task]
            assert held[str(depth)] == min(held.values())
    assert rows["labels", 0]["branches"] == {"segmentation": [4, 7], "depth": [4, 1], "normals": [4, 3]}
    assert {row["method"] for row in found["summary"]} == set(EVERY)


def test_students_come_back_from_their_cards_and_measure_the_same(ran: Path) -> None:
    data = dense.scenes((16, 24), train=24, validation=2, test=6)
    for row in results(ran)["rows"]:
        network, card = zoo.load(ran / row["model"])
        assert isinstance(network, Branched)
        assert card.network == "branched"
        metric = segmentation(len(data.classes))
        view = Normalize(card.input.mean, card.input.std)
        with torch.no_grad():
            for batch in Batches(data.test, 4):
                metric.update(network(view(batch.inputs))["segmentation"], batch.labels["segmentation"])
        assert metric.compute().miou == pytest.approx(row["test"]["last"]["segmentation miou"])
        size = cost(network, torch.zeros(1, 3, 16, 24))
        assert (size.parameters, size.macs) == (row["parameters"], row["inference_macs"])
        assert card.parents == tuple(state_hash(zoo.load(ran / "nodes" / task)[0]) for task in TASKS)
    # of a finished student the result is kept, and not what led there
    assert {place.relative_to(ran).parts[1] for place in ran.rglob("checkpoints")} <= set(TASKS)


def test_what_they_say_of_test_images_is_kept_for_the_report(ran: Path) -> None:
    target = load_file(ran / "predictions" / "target.safetensors")
    assert target["images"].shape == (4, 3, 16, 24)
    assert {p.stem for p in (ran / "predictions").glob("*.safetensors")} == {"target", "teachers", *EVERY}
    for name in ("teachers", *EVERY):
        said = load_file(ran / "predictions" / f"{name}.safetensors")
        assert {task: x.shape for task, x in said.items()} == {
            "segmentation": (4, 16, 24), "depth": (4, 1, 16, 24), "normals": (4, 3, 16, 24)
        }  # fmt: skip


def test_the_report_shows_every_task_of_everybody(ran: Path) -> None:
    page, summary = (ran / "report.html").read_text(), (ran / "summary.md").read_text()
    for words in (
        "segmentation teacher",
        "all teachers",
        "mIoU",
        "abs rel",
        "mean angle",
        "Branch points",
        "kd_branched",
    ):
        assert words in page
        assert words.replace("_", "\\_") in summary
    assert "Against the student from labels, paired by seed" in page


def test_killed_between_and_within_stages_it_ends_with_the_same_numbers(mentorch, monkeypatch) -> None:
    words = ("branch", "--tasks", "depth", *QUICK, "--methods", "random_path", "branch", "--no-results")
    assert mentorch(*words, "--name", "whole").code == 0
    fit, calls = _branch._training.fit, 0

    def failing(graph, train, **options):
        nonlocal calls
        calls += 1
        if calls in (3, 6):  # the last stage of a student; the second of the other
            raise KeyboardInterrupt
        return fit(graph, train, **options)

    monkeypatch.setattr(_branch._training, "fit", failing)
    killed = mentorch(*words, "--name", "killed")
    assert killed.code == 130
    assert "mentorch run runs/killed/recipe.yaml --resume" in killed.err
    assert mentorch("run", "runs/killed/recipe.yaml", "--resume").code == 130
    assert mentorch("run", "runs/killed/recipe.yaml", "--resume").code == 0
    assert timeless(Path("runs/killed")) == timeless(Path("runs/whole"))


def test_teachers_from_cards_are_taken_as_they_are(mentorch, ran: Path) -> None:
    kept = [f"{task}={ran / 'nodes' / task}" for task in TASKS]
    words = ("branch", *QUICK, "--methods", "kd", "--no-results", "--name", "given", "--teachers", *kept)
    result = mentorch(*words)
    assert result.code == 0, result.err
    assert "training" not in result.out.split("everybody else")[-1].replace("training images", "")
    mine, theirs = (
        {t: v["test"] for t, v in results(run)["dense_teachers"].items()} for run in (Path("runs/given"), ran)
    )
    assert mine == theirs
    wrong = mentorch("branch", *QUICK, "--teachers", f"depth={ran / 'nodes' / 'normals'}")
    assert wrong.code == 2
    assert "is for normals with 3 outputs, not for depth with 1" in wrong.error


def test_a_dry_run_says_what_would_happen(mentorch) -> None:
    result = mentorch("branch", *QUICK, "--dry-run")
    assert result.code == 0
    for words in (
        "24 training, 2 validation, 6 test images, 16x24",
        "depth -> student:depth: depth_l1",
        "5 depths of 1",
    ):
        assert words in result.err + result.out
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--tasks", "seg"), "unknown 'seg' (known: segmentation, depth, normals)"),
        (("--methods", "kd_branched"), "kd_branched needs branch, which finds its network"),
        (("--start", "colour"), "'colour' is neither random nor one of the tasks"),
        (("--size", "4"), "one side, or height and width, 8 or more"),
        (("--weight", "deep=2"), "weight: 'deep' is none of the tasks"),
        (("--knn", "3"), "knn has no effect with what a dense task has no use for"),
        (("--methods", "kd", "--train-trunk", "last"), "train_trunk has no effect"),
        (("--network", "resnet8"), "resnet8 does not answer at every pixel"),
        (("--data", "camvid:nowhere"), "folder nowhere does not exist"),
        (("--batch-size", "64"), "batch size 64 is larger than the data"),
    ],
)
def test_wrong_usage_is_one_line(mentorch, words, message) -> None:
    quick = tuple(word for word in QUICK)
    result = mentorch("branch", *quick, *words)
    assert result.code == 2, result.out
    assert message in result.error
