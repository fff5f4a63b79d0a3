import json
from pathlib import Path

import pytest
import yaml

from .conftest import QUICK, call

SEARCH = ("search", *QUICK, "--target", "cnn_tiny", "--partners", "cnn_tiny", "cnn_small", "--lr", "0.01")


def summary(run: Path) -> dict:
    return json.loads((run / "search.json").read_text())


def test_a_search_ends_with_finals_beside_their_baselines(mentorch) -> None:
    result = call(*SEARCH, "--trials", "2", "--seeds", "1", "2", "--knn", "0", "--name", "s")
    assert result.code == 0, result.err
    run = Path("runs/s")
    found = summary(run)
    assert [trial["state"] for trial in found["trials"]] == ["complete", "complete"]
    assert "(2 of 2; best" in result.err
    results = json.loads((run / "results.json").read_text())
    assert results["kind"] == "search"
    name = f"searched-{found['trials'][0]['digest'][:6]}"
    assert {row["method"] for row in results["rows"]} == {"independent", "mutual", "kd", name}
    assert name in result.out
    assert list((run / "figures").glob("search-*.svg"))
    assert yaml.safe_load((run / "recipe.yaml").read_text())["command"] == "search"


def test_a_search_is_gone_on_with_and_joined(mentorch) -> None:
    short = (*SEARCH, "--finals", "0", "--name", "s")
    assert call(*short, "--trials", "1").code == 0
    assert call(*short, "--trials", "2", "--resume").code == 0
    assert len(summary(Path("runs/s"))["trials"]) == 2
    joined = call("search", "--join", "runs/s", "--quiet")
    assert joined.code == 0, joined.err
    assert len(summary(Path("runs/s"))["trials"]) == 2


def test_two_workers_share_the_trials(mentorch) -> None:
    result = call(*SEARCH, "--finals", "0", "--trials", "3", "--workers", "2", "--name", "s", "--json")
    assert result.code == 0, result.err
    assert len(json.loads(result.out)["trials"]) == 3
    assert Path("runs/s/worker-2.log").exists()


def test_evidence_comes_first(mentorch) -> None:
    words = (*SEARCH, "--finals", "0", "--trials", "1", "--name", "s", "--scores", "cnn_tiny=1", "cnn_small=2")
    assert call(*words).code == 0
    (trial,) = summary(Path("runs/s"))["trials"]
    assert trial["candidate"]["partners"] == ["cnn_small"]


def test_a_dry_run_says_what_would_be_searched(mentorch) -> None:
    result = call(*SEARCH, "--gates", "fork", "--loss", "kd", "dkd", "--dry-run")
    assert result.code == 0, result.err
    assert (
        "combinations: cnn_tiny and 2 of cnn_tiny, cnn_small; gates through, cutoff, linear_up, linear_down"
        in result.err
    )
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--gates", "thru"), "unknown gate 'thru'"),
        (("--loss", "pkt"), "unknown loss on logits 'pkt'"),
        (("--partners", "resnet21x"), "unknown network 'resnet21x'"),
        (("--storage", "study.txt"), "storage is a URL, or a path that ends in"),
        (("--scores", "cnn_tiny=1"), "evidence says nothing about partner 'cnn_small'"),
    ],
)
def test_bad_input_is_named_before_anything_is_trained(mentorch, words: tuple[str, ...], message: str) -> None:
    result = call(*SEARCH, "--trials", "1", *words)
    assert result.code == 2
    assert message in result.error
    assert not list(Path().glob("runs/*/trials"))


def test_another_search_cannot_use_the_folder(mentorch) -> None:
    assert call(*SEARCH, "--finals", "0", "--trials", "1", "--name", "s").code == 0
    again = call(*SEARCH, "--finals", "0", "--trials", "1", "--name", "s", "--nodes", "2", "--resume")
    assert again.code == 2
    assert "nodes=3, not 2" in again.error


def test_only_a_search_can_be_joined(mentorch) -> None:
    assert call("train", *QUICK, "--network", "cnn_tiny", "--name", "t").code == 0
    result = call("search", "--join", "runs/t")
    assert result.code == 2
    assert "is not the recipe of a search" in result.error
