import json
import shutil
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
import yaml
from pydantic import BaseModel, ConfigDict, Field
from safetensors.torch import load_file, save_file

from mentorch import networks, zoo
from mentorch.cli import _training
from mentorch.comparison import Neighbours, measure, outputs
from mentorch.data import Normalize, load
from mentorch.training import On

from .conftest import QUICK, call, histories, numbers

# -- the schema of results.json, as it is documented


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


Share = Field(ge=0, le=1)


class Metrics(Strict):
    accuracy: float = Share
    cross_entropy: float = Field(ge=0)
    mse: float = Field(ge=0, le=0.2)
    ece: float = Share
    top5: float | None = Share
    knn: float | None = Field(None, ge=0, le=1)
    agreement: float | None = Field(None, ge=0, le=1)
    teacher_kl: float | None = Field(None, ge=-1e-6)


class Both(Strict):
    best: Metrics
    last: Metrics


class Node(Strict):
    name: str
    role: Literal["frozen", "learning"]
    network: str
    parameters: int
    hash: str | None = None  # of a frozen one


class Edge(Strict):
    source: list[str]
    target: str
    loss: str
    gate: str
    name: str


class Drawing(Strict):
    nodes: list[Node]
    edges: list[Edge]


class Row(Strict):
    method: str
    node: str
    seed: int
    epochs: int
    best_epoch: int
    stopped: str | None
    seconds: float
    peak_memory: int | None = Field(gt=0)
    trained_samples: int
    macs: int
    parameters: int
    validation: Both
    test: Both
    history: str
    model: str | None
    graph: Drawing


class Data(Strict):
    name: str
    train: int
    validation: int
    test: int
    classes: int
    note: str | None
    fingerprint: str


class Views(Strict):
    accuracy: float = Share
    entropy: float = Field(ge=0)
    images: int = Field(ge=1)


class Teacher(Strict):
    name: str
    network: str
    parameters: int
    macs: int
    bytes: int
    latency: float
    source: str
    views: Views
    validation: Metrics
    test: Metrics


class Student(Strict):
    network: str
    parameters: int
    macs: int
    bytes: int
    latency: float


class Entry(Strict):
    method: str
    metric: str
    which: Literal["best", "last"]
    n: int
    mean: float
    std: float
    low: float | None
    high: float | None


class Results(Strict):
    results_schema: Literal["mentorch.results/1"] = Field(alias="schema")
    kind: Literal["compare", "distill", "train", "graph"]
    name: str
    created: str
    seconds: float
    data: Data
    select: Literal["best", "last"]
    teacher: Teacher | None
    student: Student
    rows: list[Row]
    summary: list[Entry]


METHODS = ("scratch", "kd", "kd+pkt")
FULL = (
    *("compare", "--epochs", "2", "--train-size", "100", "--batch-size", "50", "--lr", "0.01", "--seeds", "0", "1"),
    *("--teacher", "cnn_small", "--teacher-train-size", "200", "--teacher-epochs", "3", "--min-teacher-acc", "0"),
)


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a whole comparison."""
    root = tmp_path_factory.mktemp("compared")
    result = call(*FULL, "--methods", *METHODS, "--out", root, "--name", "all")
    assert result.code == 0, result.err
    assert "kd+pkt, seed 1: validation" in result.err
    assert "scratch" in result.out
    return root / "all"


def results_of(run: Path) -> dict[str, Any]:
    return json.loads((run / "results.json").read_text())


def timeless(run: Path) -> dict[str, Any]:
    """Results without the times of a forward pass, which no two runs share."""
    results = results_of(run)
    for role in ("teacher", "student"):
        results[role] = {key: value for key, value in results[role].items() if key != "latency"}
    return results


def test_results_follow_their_schema(compared: Path) -> None:
    results = Results.model_validate_json((compared / "results.json").read_text())
    assert results.kind == "compare"
    assert results.name == "all"
    assert [(row.method, row.seed) for row in results.rows] == [(m, s) for m in METHODS for s in (0, 1)]
    assert (results.data.train, results.data.classes) == (100, 10)
    assert results.teacher is not None
    assert results.teacher.source == "trained here"
    assert {(e.method, e.which, e.n) for e in results.summary} == {(m, w, 2) for m in METHODS for w in ("best", "last")}
    for row in results.rows:
        assert row.test.best.agreement is not None
        assert row.test.best.knn is not None
        assert row.trained_samples == 200
        assert row.graph.edges


def test_every_promised_file_is_there(compared: Path) -> None:
    results = results_of(compared)
    files = [
        "recipe.yaml",
        "output.log",
        "environment.json",
        "results.json",
        "results.csv",
        "report.html",
        "summary.md",
    ]
    files += [row["history"] for row in results["rows"]]
    files += [f"nodes/teacher/{name}" for name in ("card.json", "model.safetensors")]
    files += [f"figures/{name}.{kind}" for name in ("accuracy", "cross-entropy") for kind in ("svg", "png")]
    for name in files:
        assert (compared / name).stat().st_size > 0, name
    for row in results["rows"]:
        assert list((compared / row["history"]).parent.glob("tensorboard/events*"))
        lines = [json.loads(line) for line in (compared / row["history"]).read_text().splitlines()]
        assert [line["epoch"] for line in lines] == [1, 2]
        assert lines[-1]["progress"] == 1.0
        assert set(lines[0]) == {"epoch", "step", "progress", "seconds", "train", "validation", "lr", "diagnosis"}
    assert len((compared / "results.csv").read_text().splitlines()) == 1 + 6
    assert not list(compared.rglob("*.tmp"))


def test_the_teacher_is_a_line_in_the_figures(compared: Path) -> None:
    for name in ("accuracy", "cross-entropy", "accuracy-parameters"):
        assert "teacher" in (compared / "figures" / f"{name}.svg").read_text(), name
    assert "teacher" in (compared / "summary.md").read_text()


def test_the_best_student_on_validation_data_is_kept(compared: Path) -> None:
    rows = results_of(compared)["rows"]
    kept = [row for row in rows if row["model"]]
    assert [row["validation"]["best"]["accuracy"] for row in kept] == [
        max(row["validation"]["best"]["accuracy"] for row in rows)
    ]
    folders = {path.name for path in (compared / "nodes").iterdir()}
    assert folders == {"teacher", Path(kept[0]["model"]).name}


def test_what_is_kept_measures_as_the_results_say(compared: Path) -> None:
    results = results_of(compared)
    data = load("digits", train_size=100)
    (row,) = (row for row in results["rows"] if row["model"])
    student, card = zoo.load(compared / row["model"])
    teacher, theirs = zoo.load(compared / "nodes" / "teacher")
    assert card.input is not None
    assert theirs.input is not None
    assert card.input.mean == pytest.approx(data.mean)
    assert theirs.input.mean != pytest.approx(data.mean, rel=1e-9)  # of the images that it learned from
    views = [Normalize(c.input.mean, c.input.std) for c in (card, theirs) if c.input is not None]
    logits, _ = outputs(teacher, data.test, view=views[1])
    options = {"teacher_logits": logits, "neighbours": Neighbours(data.train, "fc:in", 5), "view": views[0]}
    assert row["test"]["best"] == pytest.approx(measure(student, data.test, **options), abs=1e-6)
    assert results["teacher"]["test"] == pytest.approx(
        measure(teacher, data.test, view=views[1], neighbours=Neighbours(data.train, "fc:in", 5)), abs=1e-6
    )
    assert card.training["method"] == row["method"]


def test_its_recipe_repeats_it_exactly(compared: Path, mentorch) -> None:
    again = mentorch("run", compared / "recipe.yaml", "--name", "again", "--out", "elsewhere", "--quiet")
    assert again.code == 0, again.err
    run = Path("elsewhere/again")
    assert numbers(run) == numbers(compared)
    assert histories(run) == histories(compared)
    first, second = (timeless(path)["teacher"] for path in (compared, run))
    assert first == second
    before = yaml.safe_load((compared / "recipe.yaml").read_text())
    assert yaml.safe_load((run / "recipe.yaml").read_text()) == before | {"name": "again", "out": "elsewhere"}


def test_other_methods_and_their_order_change_no_row(compared: Path, mentorch) -> None:
    result = mentorch(*FULL, "--methods", "kd+pkt", "pkt", "scratch", "--seeds", "1", "0", "--name", "other", "--quiet")
    assert result.code == 0, result.err

    def by_run(path: Path) -> dict[Any, Any]:
        return {(r["method"], r["seed"]): {k: v for k, v in r.items() if k != "model"} for r in numbers(path)}

    one, other = by_run(compared), by_run(Path("runs/other"))
    assert {key: one[key] for key in one if key in other} == {key: other[key] for key in one if key in other}
    assert len(set(one) & set(other)) == 4


# -- teachers that are given

GIVEN = ("--methods", "kd", "--lr", "0.01")


def test_a_given_teacher_is_used_as_it_is(quick, taught: Path) -> None:
    result = quick("compare", "--teacher", taught, *GIVEN, "--name", "r")
    assert result.code == 0, result.err
    teacher = results_of(Path("runs/r"))["teacher"]
    network, card = zoo.load(taught)
    data = load("digits", train_size=100)
    assert card.input is not None
    view = Normalize(card.input.mean, card.input.std)
    assert teacher["source"] == str(taught)
    assert teacher["validation"] == pytest.approx(measure(network, data.validation, view=view), abs=1e-6)
    assert not Path("runs/r/nodes/teacher").exists()
    assert not Path("runs/r/fits/teacher").exists()


def test_weights_with_a_normalisation_are_the_same_teacher(quick, taught: Path) -> None:
    card = zoo.read(taught)
    assert card.input is not None
    weights = f"cnn_small:{taught / 'model.safetensors'}"
    numbers_ = ("--teacher-mean", *card.input.mean, "--teacher-std", *card.input.std)
    assert quick("compare", "--teacher", taught, *GIVEN, "--name", "card").code == 0
    assert quick("compare", "--teacher", weights, *numbers_, *GIVEN, "--name", "file").code == 0
    assert numbers(Path("runs/card")) == numbers(Path("runs/file"))


def test_a_teacher_with_another_normalisation_is_refused(quick, taught: Path) -> None:
    weights = f"cnn_small:{taught / 'model.safetensors'}"
    wrong = ("--teacher", weights, "--teacher-mean", "40", "--teacher-std", "0.1", *GIVEN, "--name", "r")
    result = quick("compare", *wrong)
    assert result.code == 1
    assert "is right for" in result.error
    assert "--teacher-mean" in result.error
    with_card = quick("compare", "--teacher", taught, *wrong[2:])
    assert with_card.code == 2
    assert f"teacher_mean and teacher_std have no effect: the card of {taught} has its own" in with_card.error
    # nothing was computed, so the name is free
    assert quick("compare", *wrong, "--min-teacher-acc", "0").code == 0


def test_a_teacher_with_its_classes_permuted_is_refused(quick, taught: Path, tmp_path: Path) -> None:
    tensors = load_file(taught / "model.safetensors")
    order = torch.arange(10).roll(1)
    tensors |= {name: tensors[name][order].clone() for name in ("fc.weight", "fc.bias")}
    save_file(tensors, tmp_path / "w.safetensors")
    result = quick("compare", "--teacher", f"cnn_small:{tmp_path / 'w.safetensors'}", *GIVEN)
    assert result.code == 1
    assert "another order of classes" in result.error


def test_the_least_accuracy_of_a_teacher_can_be_asked_for(quick, taught: Path) -> None:
    result = quick("compare", "--teacher", taught, *GIVEN, "--min-teacher-acc", "0.999")
    assert result.code == 1
    assert "is right for" in result.error


def test_several_teachers_teach_as_their_mean_or_each_its_copy(quick, taught: Path, tmp_path: Path) -> None:
    second = shutil.copytree(taught, tmp_path / "second")
    base = ("--teacher", taught, second, "--methods", "scratch", "kd", "--lr", "0.01", "--epochs", "2")
    assert quick("compare", *base, "--name", "mean").code == 0
    assert quick("compare", *base, "--sub-teachers", "winner", "--name", "winner").code == 0
    alone = ("--teacher", taught, *base[3:])
    assert quick("compare", *alone, "--name", "one").code == 0
    results = {name: results_of(Path("runs") / name) for name in ("mean", "winner", "one")}
    assert results["mean"]["teacher"] is None
    assert {n["name"] for n in results["mean"]["rows"][1]["graph"]["nodes"]} == {"student", "teacher1", "teacher2"}
    assert len(results["winner"]["rows"][1]["graph"]["nodes"]) == 4
    assert results["winner"]["rows"][1]["macs"] > 1.9 * results["one"]["rows"][1]["macs"]
    # two equal sub-teachers are one teacher: every copy stays the student that one teacher makes
    for name in ("mean", "winner"):
        assert results[name]["rows"][1]["validation"]["last"] == pytest.approx(
            results["one"]["rows"][1]["validation"]["last"], abs=1e-5
        )
        assert (
            results[name]["rows"][0]["test"]["last"]["accuracy"]
            == results["one"]["rows"][0]["test"]["last"]["accuracy"]
        )


# -- options with an effect on a whole run


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, taught: Path) -> Path:
    """A small run to compare with."""
    root = tmp_path_factory.mktemp("plain")
    result = call("compare", *QUICK, "--teacher", taught, "--methods", "kd", "--out", root, "--name", "plain")
    assert result.code == 0, result.err
    return root / "plain"


@pytest.mark.parametrize(
    "words",
    [
        ("--temperature", "4"),
        ("--no-t-squared",),
        ("--methods", "standardized-kd"),
        ("--kd-supervised", "1"),
        ("--weight", "kd=0.5"),
        ("--student", "cnn_small"),
        ("--protocol", "public"),
        ("--augment", "standard"),
        ("--split-seed", "1"),
        ("--teacher-precision", "bf16"),
        ("--select", "last", "--epochs", "3"),
    ],
    ids=lambda words: words[0],
)
def test_an_option_changes_the_run(quick, plain: Path, taught: Path, words: tuple[str, ...]) -> None:
    result = quick("compare", "--teacher", taught, "--methods", "kd", "--name", "r", *words)
    assert result.code == 0, result.err
    assert histories(Path("runs/r")) != histories(plain)


def test_an_option_that_only_costs_memory_changes_nothing(quick, plain: Path, taught: Path) -> None:
    words = ("--eval-batch-size", "7", "--threads", "1", "--device", "cpu", "--download")
    assert quick("compare", "--teacher", taught, "--methods", "kd", "--name", "r", *words).code == 0
    assert numbers(Path("runs/r"))[0]["test"]["best"] == pytest.approx(numbers(plain)[0]["test"]["best"], abs=1e-6)


@pytest.mark.parametrize(("keep", "count"), [("best", 1), ("all", 4), ("none", 0)])
def test_students_are_kept_as_asked(quick, taught: Path, keep: str, count: int) -> None:
    words = ("--methods", "scratch", "kd", "--seeds", "0", "1", "--save-students", keep, "--name", "r")
    assert quick("compare", "--teacher", taught, *words).code == 0
    run = Path("runs/r")
    models = [row["model"] for row in results_of(run)["rows"] if row["model"]]
    found = {str(path.parent.relative_to(run)) for path in run.glob("nodes/*/model.safetensors")}
    assert found == set(models)
    assert len(models) == count


def test_what_is_not_asked_for_is_not_written(mentorch, taught: Path) -> None:
    words = (*QUICK, "--teacher", taught, "--methods", "kd", "--knn", "0", "--name", "r")
    assert mentorch("compare", *words).code == 0
    run = Path("runs/r")
    assert not (run / "report.html").exists()
    assert not list(run.rglob("events*"))
    assert "knn" not in results_of(run)["rows"][0]["test"]["best"]
    assert "knn" not in results_of(run)["teacher"]["test"]


def test_a_student_starts_from_given_weights(quick, taught: Path, tmp_path: Path) -> None:
    weights = taught / "model.safetensors"
    base = ("--methods", "scratch", "--lr", "1e-9")
    assert quick("compare", *base, "--student", "cnn_small", "--student-weights", weights, "--name", "a").code == 0
    assert quick("compare", *base, "--student", f"cnn_small:{weights}", "--name", "b").code == 0
    assert quick("compare", *base, "--student", taught, "--name", "c").code == 0
    assert quick("compare", *base, "--student", "cnn_small", "--name", "d").code == 0
    a, b, c, d = (numbers(Path("runs") / name)[0]["test"]["best"]["accuracy"] for name in "abcd")
    assert a == b
    assert min(a, c) > d + 0.3


def test_features_can_be_tapped_elsewhere(quick, taught: Path) -> None:
    base = ("--teacher", taught, "--methods", "pkt", "--weight", "pkt=1", "--knn", "5")
    assert quick("compare", *base, "--name", "own").code == 0
    places = ("--tap", "student.embedding=layer2", "teacher.embedding=layer2")
    assert quick("compare", *base, *places, "--name", "tapped").code == 0
    own, tapped = (results_of(Path("runs") / name) for name in ("own", "tapped"))
    assert tapped["rows"][0]["graph"]["edges"][1]["target"] == "student.layer2"
    assert own["rows"][0]["graph"]["edges"][1]["target"] == "student.fc:in"
    assert own["teacher"]["test"]["knn"] != tapped["teacher"]["test"]["knn"]


def test_a_teacher_that_is_trained_has_options_of_its_own(quick) -> None:
    base = ("--teacher", "cnn_tiny", "--methods", "kd", "--min-teacher-acc", "0", "--lr", "0.01")
    for name, words in {
        "a": ("--teacher-train-size", "100"),
        "b": ("--teacher-train-size", "100", "--teacher-epochs", "3"),
        "c": ("--teacher-train-size", "300"),
        "d": (),
    }.items():
        assert quick("compare", *base, *words, "--name", name).code == 0
    cards = {name: zoo.read(Path("runs") / name / "nodes" / "teacher") for name in "abcd"}
    assert [cards[n].training["images"] for n in "abcd"] == [100, 100, 300, 1294]
    assert [cards[n].training["epochs"] for n in "abcd"] == [1, 3, 1, 1]
    assert len({card.hash for card in cards.values()}) == 4


def test_without_a_method_that_needs_one_no_teacher_is_trained(quick) -> None:
    assert quick("compare", "--methods", "scratch", "--name", "r").code == 0
    assert results_of(Path("runs/r"))["teacher"] is None
    assert not Path("runs/r/fits/teacher").exists()


# -- failures and interruptions


def test_a_loss_that_diverges_is_one_failed_row_and_the_rest_is_kept(quick, taught: Path) -> None:
    words = ("--methods", "scratch", "kd", "--weight", "kd=1e38", "--optimizer", "sgd", "--lr", "1")
    result = quick("compare", "--teacher", taught, *words, "--name", "r")
    assert result.code == 1
    assert result.error.startswith("error: 1 of 2 runs failed, the first is kd seed 0: ")
    good, bad = results_of(Path("runs/r"))["rows"]
    assert good["test"]["best"]["accuracy"] >= 0
    assert "teacher -> student: kd" in bad["error"]
    assert "test" not in bad
    assert zoo.load(Path("runs/r") / good["model"])


def test_a_learning_rate_out_of_this_world_names_the_edge_and_keeps_the_last_good_checkpoint(quick) -> None:
    words = ("--methods", "scratch", "--epochs", "4", "--lr", "1e30", "--optimizer", "sgd", "--early-stop", "0")
    result = quick("compare", *words, "--name", "r")
    assert result.code == 1
    assert "the loss of edge 'labels -> student: cross_entropy' became NaN or infinite" in result.error
    (row,) = results_of(Path("runs/r"))["rows"]
    assert row["error"] in result.error
    again = quick("compare", *words, "--name", "r", "--resume")
    assert again.code == 1
    assert again.error == result.error


def test_a_teacher_that_diverges_ends_the_run(quick) -> None:
    result = quick("compare", "--methods", "kd", "--teacher", "cnn_tiny", "--lr", "1e30", "--optimizer", "sgd")
    assert result.code == 1
    assert "NaN or infinite" in result.error


WORK = ("--methods", "scratch", "kd", "pkt", "--seeds", "0", "1", "--epochs", "3", "--lr", "0.01")


@pytest.mark.parametrize("where", ["teacher", "first", "second"])
def test_an_interrupted_run_goes_on_where_it_was(quick, monkeypatch, tmp_path: Path, where: str) -> None:
    base = ("--teacher", "cnn_tiny", "--teacher-train-size", "100", "--min-teacher-acc", "0", *WORK)
    assert quick("compare", *base, "--name", "whole").code == 0
    calls: list[str] = []
    fit = _training.fit

    def stop(training) -> None:
        raise KeyboardInterrupt

    def watched(graph, train, *, run, callbacks=(), **options):
        calls.append(f"{Path(run).parent.name} {Path(run).name}")
        if calls[-1] == {"teacher": "teacher seed-0", "first": "scratch seed-0", "second": "kd seed-1"}.get(where):
            callbacks = (*callbacks, On("step", stop, at=[5]))
        return fit(graph, train, run=run, callbacks=callbacks, **options)

    monkeypatch.setattr(_training, "fit", watched)
    result = quick("compare", *base, "--name", "cut")
    assert result.code == 130
    assert result.err.splitlines()[-1] == (
        "interrupted, nothing is lost; go on with: mentorch run runs/cut/recipe.yaml --resume"
    )
    assert "Traceback" not in result.err
    done, calls[:], reached = calls[:-1], [], calls[-1]
    where = "nowhere"
    resumed = call("run", "runs/cut/recipe.yaml", "--resume")
    assert resumed.code == 0, resumed.err
    assert calls[0] == reached
    assert not set(done) & set(calls)
    assert len(done) + len(calls) == 7
    assert numbers(Path("runs/cut")) == numbers(Path("runs/whole"))
    assert histories(Path("runs/cut")) == histories(Path("runs/whole"))
    assert timeless(Path("runs/cut"))["teacher"] == timeless(Path("runs/whole"))["teacher"]


def test_a_finished_run_that_is_resumed_computes_nothing(quick, monkeypatch, taught: Path) -> None:
    words = ("--teacher", taught, "--methods", "scratch", "kd", "--name", "r")
    assert quick("compare", *words).code == 0
    before = numbers(Path("runs/r"))

    def never(*args: Any, **options: Any) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(_training, "fit", never)
    assert quick("compare", *words, "--resume").code == 0
    assert numbers(Path("runs/r")) == before
    assert (Path("runs/r") / next(row["model"] for row in before if row["model"])).is_dir()


def test_dry_run_describes_and_writes_nothing(mentorch, taught: Path) -> None:
    result = mentorch("compare", "--teacher", taught, "cnn_medium", "--methods", "scratch", "kd", "--dry-run", "--json")
    assert result.code == 0, result.err
    assert "teacher1: cnn_small, given, 5,178 parameters" in result.err
    assert "teacher2: cnn_medium, to be trained, 94,186 parameters" in result.err
    assert "mean of teacher1, teacher2 -> student: kd  x 1" in result.err
    assert json.loads(result.out)["methods"] == ["scratch", "kd"]
    assert not Path("runs").exists()


def test_json_is_the_results_and_nothing_else(quick) -> None:
    result = quick("compare", "--methods", "scratch", "--json", "--quiet", "--name", "r")
    assert json.loads(result.out) == results_of(Path("runs/r"))
    assert result.err == ""


def test_the_student_is_measured_against_its_teacher(quick, taught: Path) -> None:
    assert (
        quick("compare", "--teacher", taught, "--student", taught, "--methods", "scratch", "--name", "alone").code == 2
    )
    result = quick(
        "compare", "--teacher", taught, "--student", taught, "--methods", "kd", "--lr", "1e-9", "--name", "r"
    )
    assert result.code == 0, result.err
    (row,) = results_of(Path("runs/r"))["rows"]
    assert row["test"]["best"]["agreement"] > 0.9  # batch norm has seen one epoch
    assert networks.state_hash(zoo.load(taught)[0]) == zoo.read(taught).hash


# -- the teacher cache


def test_a_cached_teacher_changes_no_number(quick, taught: Path) -> None:
    words = ("compare", "--teacher", taught, "--methods", "scratch", "kd+pkt", "--seeds", "0", "1", "--epochs", "2")
    views = ("--augment", "standard", "--views", "2")
    assert quick(*words, *views, "--name", "live").code == 0
    result = quick(*words, *views, "--cache", "embedding", "--name", "cached")
    assert result.code == 0, result.err
    cached, live = numbers(Path("runs/cached")), numbers(Path("runs/live"))
    spent = [(own.pop("macs"), other.pop("macs")) for own, other in zip(cached, live, strict=True)]
    assert cached == live
    assert all(own <= other for own, other in spent)
    assert spent[-1][0] < spent[-1][1]  # the second seed of the method with a teacher does not run it
    assert histories(Path("runs/cached")) == histories(Path("runs/live"))
    kept = sorted(path.name for path in Path("runs/cached/cache/teacher").iterdir() if path.suffix == ".rows")
    assert kept == ["view-00000.rows", "view-00001.rows"]  # two views, shared by both seeds
    assert quick(*words, "--augment", "standard", "--name", "fresh").code == 0
    assert numbers(Path("runs/fresh")) != numbers(Path("runs/live"))
