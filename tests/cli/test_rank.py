import json
import shutil
from pathlib import Path

import pytest
import torch

from mentorch import networks, transferability, zoo
from mentorch.data import load
from mentorch.data._splits import subset

from .conftest import QUICK

KINDS = ("cnn_tiny", "cnn_small", "resnet8", "wrn_10_1")
INPUT = zoo.Input(1, (8, 8), (0.3,), (0.3,), "gray")


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory, taught: Path) -> Path:
    """A zoo: one network that knows digits, four that know nothing, two that cannot be used."""
    root = tmp_path_factory.mktemp("few") / "zoo"
    for number, kind in enumerate(KINDS):
        torch.manual_seed(number)
        arguments = {"num_classes": 7, "in_channels": 1}
        zoo.save(networks.build(kind, **arguments), root / kind, zoo.Card(kind, kind, arguments, input=INPUT))
    zoo.add(taught, root, name="knows digits")
    (root / "broken").mkdir()
    (root / "broken/card.json").write_text("{")
    liar = shutil.copytree(root / "cnn_tiny", root / "liar")
    card = json.loads((liar / "card.json").read_text())
    (liar / "card.json").write_text(json.dumps(card | {"name": "liar", "hash": "0" * 64}))
    return root


def test_a_zoo_is_ranked_into_a_run_folder(mentorch, few: Path) -> None:
    result = mentorch("rank", "--zoo", few, "--samples", 150, "--scores", "logme", "ridge", "knn:k=3", "--name", "r")
    assert result.code == 0, result.err
    run = Path("runs/r")
    assert {path.name for path in run.iterdir()} >= {"recipe.yaml", "results.json", "environment.json", "report.html"}
    found = json.loads((run / "results.json").read_text())
    assert found["schema"] == "mentorch.ranking/1"
    assert found["rows"][0]["name"] == "knows digits"
    assert found["scores"] == ["logme", "ridge", "knn(k=3)"]
    failures = {row["name"]: row["failure"] for row in found["rows"] if row["failure"]}
    assert failures.keys() == {"broken", "liar"}
    data = load("digits")
    shown = data.train.select(subset(data.train.labels, 150, 0))
    expected = transferability.rank(few, shown.images, shown.labels)
    values = {row.name: row.scores["ridge"] for row in expected.ranked}
    assert {row["name"]: row["scores"]["ridge"] for row in found["rows"] if not row["failure"]} == pytest.approx(values)
    for text in ("knows digits", "cnn_small", "Of 5 networks knows digits promises most: logme"):
        assert text in result.out
    for text in ("liar: ", "is not what its card says", "warning: 2 of 7 networks cannot be ranked", "report: "):
        assert text in result.err
    page = (run / "report.html").read_text()
    for text in ("knows digits", "is not what its card says", "Agreement", "wrn_10_1", "command: rank"):
        assert text in page, text


def test_its_recipe_makes_the_same_ranking_again(mentorch, few: Path) -> None:
    words = ("--zoo", few, "--samples", 60, "--scores", "ridge", "--no-results")
    assert mentorch("rank", *words, "--name", "a").code == 0
    recipe = Path("runs/a/recipe.yaml").read_text()
    assert "epochs" not in recipe  # of what only training uses nothing is kept
    assert mentorch("run", "runs/a/recipe.yaml", "--name", "b").code == 0
    first, again = (json.loads(Path(f"runs/{name}/results.json").read_text()) for name in "ab")
    drop = ("seconds", "created", "name")
    for found in (first, again):
        found["rows"] = [{k: v for k, v in row.items() if k not in drop} for row in found["rows"]]
    assert {k: v for k, v in first.items() if k not in drop} == {k: v for k, v in again.items() if k not in drop}


def test_json_and_a_reference(mentorch, few: Path) -> None:
    words = ("--scores", "cka", "depara", "--reference", few / "knows-digits", "--probes", "20", "--samples", "60")
    result = mentorch("rank", "--zoo", few, *words, "--json", "--no-results", "--quiet")
    assert result.code == 0, result.err
    rows = json.loads(result.out)["rows"]
    assert rows[0]["name"] == "knows digits"
    assert rows[0]["scores"] == pytest.approx({"cka": 1, "depara": 2})


def test_a_dry_run_makes_nothing(mentorch, few: Path) -> None:
    result = mentorch("rank", "--zoo", few, "--dry-run")
    assert result.code == 0
    assert "6 of 7 networks" in result.err
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--scores", "logmee"), "unknown score 'logmee': did you mean 'logme'"),
        (("--scores", "knn:k"), "an option is written knn:NAME=NUMBER"),
        (("--scores", "knn:q=3"), "unknown option of score knn 'q'"),
        (("--scores", "ridge:k=3"), "ridge has no options"),
        (("--scores", "cka"), "name a reference"),
        (("--zoo", "nowhere"), "zoo nowhere is not a folder"),
    ],
)
def test_wrong_usage_is_a_line(mentorch, few: Path, words: tuple[str, ...], message: str) -> None:
    given = words if "--zoo" in words else ("--zoo", few, *words)
    result = mentorch("rank", *given)
    assert result.code == 2
    assert message in result.error


def test_a_zoo_in_which_nothing_can_be_ranked_fails(mentorch, few: Path) -> None:
    shutil.copytree(few / "liar", Path("bad/liar"))
    result = mentorch("rank", "--zoo", "bad", "--samples", "60")
    assert result.code == 1
    assert "no network of bad could be ranked, the first failed by: " in result.error
    assert Path("runs/rank-digits/results.json").exists()
    result = mentorch("rank", "--zoo", few, "--samples", "60", "--scores", "knn:k=1000")
    assert result.code == 1
    assert "could be ranked, the first failed by: knn(k=1000): " in result.error


def test_the_best_network_teaches_a_student_beside_the_student_alone(mentorch, few: Path) -> None:
    words = ("--samples", "60", "--scores", "ridge", "--distill", "cnn_tiny", *QUICK, "--name", "r")
    result = mentorch("rank", "--zoo", few, *words)
    assert result.code == 0, result.err
    assert json.loads(Path("runs/r/results.json").read_text())["schema"] == "mentorch.ranking/1"
    found = json.loads(Path("runs/r/distill/results.json").read_text())
    rows = {row["method"]: row for row in found["rows"]}
    assert rows.keys() == {"scratch", "suggested"}
    teacher = next(node for node in rows["suggested"]["graph"]["nodes"] if node["name"] == "teacher")
    assert teacher["hash"] == zoo.read(few / "knows-digits").hash
    edges = [edge["source"] for edge in rows["suggested"]["graph"]["edges"]]
    assert edges == [["labels"], ["teacher"]]
    assert "teacher -> student: kd" in result.err
    (kept,) = zoo.entries("runs/r")
    assert kept.name in ("r/scratch-seed-0", "r/suggested-seed-0")  # no other ranking has the same names
    again = mentorch("rank", "--zoo", few, *words, "--resume", "--json")
    told = json.loads(again.out)  # one object: the ranking, and in it what came of it
    assert told["schema"] == "mentorch.ranking/1"
    assert [row["method"] for row in told["distill"]["rows"]] == ["scratch", "suggested"]


def test_a_ranking_that_was_stopped_goes_on_with_the_networks_that_are_left(
    mentorch, few: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("rank", "--zoo", few, "--samples", 60, "--scores", "ridge", "--no-results", "--name", "r")
    looked: list[str] = []
    stops = [KeyboardInterrupt()]
    load = zoo.Entry.load

    def counted(entry: zoo.Entry, *, trust: bool = False) -> object:
        if entry.name == "wrn_10_1" and stops:
            raise stops.pop()
        looked.append(entry.name)
        return load(entry, trust=trust)

    monkeypatch.setattr(zoo.Entry, "load", counted)
    stopped = mentorch(*words)
    assert stopped.code == 130
    assert "--resume" in stopped.err
    before = set(looked) - {"liar"}
    assert len(before) >= 3
    looked.clear()
    assert "already holds a run" in mentorch(*words).error
    done = mentorch(*words, "--resume")
    assert done.code == 0, done.err
    assert f"{len(before)} networks were looked at before" in done.err
    assert not before & set(looked)
    found = json.loads(Path("runs/r/results.json").read_text())["rows"]
    assert mentorch("rank", *words[1:-1], "whole").code == 0
    whole = json.loads(Path("runs/whole/results.json").read_text())["rows"]
    assert [{**row, "seconds": 0} for row in found] == [{**row, "seconds": 0} for row in whole]
