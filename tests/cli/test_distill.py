"""``mentorch distill``, whole: the file behind it is that of ``compare``."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from .conftest import QUICK, histories, numbers


def rows(name: str) -> list[dict]:
    return numbers(Path("runs") / name)


def test_one_method_and_what_the_student_is_without_it(mentorch, taught: Path) -> None:
    words = ("--method", "dkd", "--beta", "2", "--seeds", "0", "1", *QUICK)
    result = mentorch("distill", taught, "cnn_tiny", "digits", *words)
    assert result.code == 0, result.err
    run = Path("runs/distill-digits")
    results = json.loads((run / "results.json").read_text())
    assert results["kind"] == "distill"
    assert results["teacher"]["source"] == str(taught)
    assert [(row["method"], row["seed"]) for row in results["rows"]] == [
        ("scratch", 0),
        ("scratch", 1),
        ("dkd", 0),
        ("dkd", 1),
    ]
    recipe = yaml.safe_load((run / "recipe.yaml").read_text())
    assert (recipe["command"], recipe["method"], recipe["set"]) == ("distill", "dkd", {"beta": 2.0})
    assert "points" in result.out


def test_it_is_the_comparison_of_that_method(quick, taught: Path) -> None:
    words = ("--teacher", taught, "--student", "cnn_tiny", "--temperature", "3", "--set", "dkd.beta=2")
    assert quick("distill", *words, "--method", "dkd+pkt", "--name", "d").code == 0
    assert quick("compare", *words, "--methods", "scratch", "dkd+pkt", "--name", "c").code == 0
    assert quick("distill", *words, "--method", "dkd+pkt", "--no-baseline", "--name", "alone").code == 0
    assert histories(Path("runs/d")) == histories(Path("runs/c"))
    assert [row["method"] for row in rows("alone")] == ["dkd+pkt"]
    assert rows("alone")[0]["test"] == rows("d")[1]["test"]


def test_its_recipe_repeats_it_exactly(quick, mentorch, taught: Path) -> None:
    method = "standardized-kd:temperature=3+pkt:weight=100:variant=akt"
    assert quick("distill", "--teacher", taught, "--method", method, "--name", "r", "--seeds", "3").code == 0
    assert mentorch("run", "runs/r/recipe.yaml", "--name", "again").code == 0
    assert rows("r") == rows("again")
    assert histories(Path("runs/r")) == histories(Path("runs/again"))
    first, second = (yaml.safe_load((Path("runs") / n / "recipe.yaml").read_text()) for n in ("r", "again"))
    assert first | {"name": "again"} == second
    assert mentorch("run", "runs/r/recipe.yaml", "--resume").code == 0


def test_a_student_that_ends_in_the_teacher_s_classifier(quick) -> None:
    words = (
        "--teacher",
        "resnet8",
        "--student",
        "resnet8",
        "--method",
        "simkd:factor=4",
        "--knn",
        "3",
        "--epochs",
        "1",
    )
    result = quick("distill", *words, "--teacher-epochs", "1", "--name", "s")
    assert result.code == 0, result.err
    scratch, simkd = json.loads(Path("runs/s/results.json").read_text())["rows"]
    assert simkd["parameters"] != scratch["parameters"]
    assert simkd["macs"] > scratch["macs"]
    assert {"knn", "agreement"} <= simkd["test"]["best"].keys()
    assert scratch["model"]
    assert simkd["model"] is None
    result = quick("distill", "--teacher", "mobilenet_v2", "--student", "cnn_tiny", "--method", "simkd", "--name", "t")
    assert result.code == 2
    assert "it needs a teacher such as a resnet" in result.err


def test_several_teachers_and_a_report(mentorch, taught: Path, tmp_path: Path) -> None:
    second = shutil.copytree(taught, tmp_path / "second")
    words = ("--epochs", "1", "--train-size", "100", "--batch-size", "50", "--no-tensorboard", "--name", "r")
    result = mentorch("distill", "--teacher", taught, second, "--method", "kd:temperature=3", *words)
    assert result.code == 0, result.err
    page = Path("runs/r/report.html").read_text()
    assert "kd:temperature=3" in page
    assert [row["method"] for row in rows("r")] == ["scratch", "kd:temperature=3"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("--method", "dkd", "--beta", "2"), ("--method", "dkd:beta=2")),
        (("--method", "dkd", "--set", "dkd.beta=2"), ("--method", "dkd", "--dkd.beta", "2")),
        (("--method", "kd", "--no-t-squared"), ("--method", "kd:t_squared=false")),
        (("--method", "kd", "-t", "3"), ("--method", "kd:temperature=3")),
        (("--method", "pkt", "--weight", "pkt=3"), ("--method", "pkt:weight=3")),
    ],
    ids=lambda words: "_".join(words).replace("--", ""),
)
def test_all_ways_to_write_an_option_are_one(
    quick, taught: Path, first: tuple[str, ...], second: tuple[str, ...]
) -> None:
    base = ("distill", "--teacher", taught, "--no-baseline")
    assert quick(*base, *first, "--name", "a").code == 0
    assert quick(*base, *second, "--name", "b").code == 0
    assert quick(*base, *first[:2], "--name", "c").code == 0
    assert [list(histories(Path("runs") / name).values()) for name in "ab"] == [
        list(histories(Path("runs/a")).values())
    ] * 2
    assert list(histories(Path("runs/c")).values()) != list(histories(Path("runs/a")).values())


def test_variants_of_one_loss_are_compared_under_their_names(quick, taught: Path) -> None:
    variants = ("kd", "kd:temperature=8", "standardized-kd", "where_correct-kd", "dkd:beta=2+pkt")
    assert quick("compare", "--teacher", taught, "--methods", *variants, "--name", "r").code == 0
    assert [row["method"] for row in rows("r")] == list(variants)
    assert len({row["validation"]["last"]["cross_entropy"] for row in rows("r")}) == len(variants)
    edges = [edge["name"] for row in rows("r") for edge in row["graph"]["edges"] if edge["source"] != ["labels"]]
    assert edges == [
        "teacher -> student: kd",
        "teacher -> student: kd",
        "teacher -> student: standardized(kd)",
        "teacher, labels -> student: where_correct(kd)",
        "teacher, labels -> student: dkd",
        "teacher.fc:in -> student.fc:in: pkt",
    ]
