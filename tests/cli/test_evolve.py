import json
from pathlib import Path
from typing import Any

import pytest
import torch

from mentorch import zoo
from mentorch.cli import _evolve
from mentorch.data import Normalize, load
from mentorch.networks import build
from mentorch.structure import plan, reset, split, zero

from .conftest import call, histories, numbers

QUICK = ("--epochs", "2", "--batch-size", "50", "--train-size", "100", "--no-tensorboard", "--no-results", "--knn", "0")
SMALL = (*QUICK, "--network", "cnn_tiny", "--lr", "0.01")


def rows(run: str) -> dict[tuple[str, int], dict[str, Any]]:
    found = json.loads((Path("runs") / run / "results.json").read_text())["rows"]
    return {(row["method"], row["seed"]): row for row in found}


def accuracy(network: torch.nn.Module, card: zoo.Card) -> float:
    test = load("digits", train_size=100).test
    assert card.input is not None
    with torch.no_grad():
        logits = network.eval()(Normalize(card.input.mean, card.input.std)(test.images.float() / 255))
    return (logits.argmax(1) == test.labels).double().mean().item()


def test_generations_slim_networks_and_baselines_of_the_same_budget(mentorch) -> None:
    controls = ("--controls", "restarts", "slim_scratch")
    result = call("evolve", *SMALL, "--generations", "3", *controls, "--seeds", "0", "1", "--name", "e")
    assert result.code == 0, result.err
    found = rows("e")
    results = json.loads(Path("runs/e/results.json").read_text())
    assert (results["kind"], results["select"]) == ("evolve", "last")
    names = ["scratch", "slim_scratch", "restarts", "generation 1", "generation 1 slim", "generation 2"]
    names += ["generation 2 slim", "evolve", "evolve slim"]
    assert list(found) == [(name, seed) for name in names for seed in (0, 1)]
    for (name, _), row in found.items():
        assert row["parameters"] == (152 if "slim" in name else 438), name
        number = {"generation 1": 1, "generation 2": 2}.get(name.removesuffix(" slim"), 3)
        assert (row["epochs"], row["trained_samples"]) == (2 * number, 200 * number), name
    # the same number of optimiser steps, to one step
    last = {
        name: json.loads((Path("runs/e") / found[name, 0]["history"]).read_text().splitlines()[-1])
        for name in ("scratch", "slim_scratch", "restarts", "evolve")
    }
    assert {(record["epoch"], record["step"], record["progress"]) for record in last.values()} == {(6, 12, 1.0)}
    macs = {found[name, 0]["macs"] for name in ("scratch", "restarts", "evolve", "evolve slim")}
    assert len(macs) == 1
    assert found["generation 1", 0]["macs"] * 3 == macs.pop()
    # nothing is forgotten: the same as evolution in generation 1, and another network in the end
    assert found["restarts", 0]["test"] != found["evolve", 0]["test"]
    dense = [(row["generation"], row["slim"]) for row in found.values() if "generation" in row]
    assert dense == [(number, slim) for number in (1, 2, 3) for slim in (False, True) for _ in range(2)]
    summary = {(s["method"], s["metric"]): s for s in results["summary"]}
    values = [found["evolve slim", seed]["test"]["last"]["accuracy"] for seed in (0, 1)]
    assert summary["evolve slim", "accuracy"]["mean"] == pytest.approx(sum(values) / 2)
    assert summary["evolve slim", "accuracy"]["n"] == 2
    assert not list(Path("runs/e").rglob("checkpoints"))
    for text in ("generation 2 slim", "scratch: 6 epochs without evolution, cosine over all of them"):
        assert text in result.out + result.err


def test_the_slim_network_is_kept_and_says_what_the_dense_one_says_without_its_reset_part(mentorch) -> None:
    assert call("evolve", *SMALL, "--generations", "2", "--name", "e").code == 0
    slim, card = zoo.load("runs/e/nodes/evolve-slim-seed-0")
    dense, _ = zoo.load("runs/e/nodes/evolve-seed-0")
    assert len(card.structure) == 1
    found = rows("e")
    assert accuracy(slim, card) == pytest.approx(found["evolve slim", 0]["test"]["last"]["accuracy"])
    assert accuracy(dense, card) == pytest.approx(found["evolve", 0]["test"]["last"]["accuracy"])
    reset(dense, split(plan(dense, torch.zeros(1, 1, 8, 8)), 0.5), law=zero)
    assert accuracy(dense, card) == accuracy(slim, card)
    curve = [
        json.loads(line) for line in (Path("runs/e") / found["evolve slim", 0]["history"]).read_text().splitlines()
    ]
    assert [record["epoch"] for record in curve] == [2, 4]
    told = found["evolve slim", 0]["validation"]["last"]["accuracy"]
    assert curve[-1]["validation"]["student"]["accuracy"] == told
    again = call("train", *QUICK, "--network", "runs/e/nodes/evolve-slim-seed-0", "--name", "t")
    assert again.code == 0, again.err
    assert zoo.read("runs/t/nodes/scratch-seed-0").structure == card.structure


def test_generation_one_is_what_training_alone_gives(mentorch) -> None:
    assert call("evolve", *SMALL, "--generations", "2", "--no-baseline", "--name", "e").code == 0
    found = rows("e")
    assert ("scratch", 0) not in found
    assert call("train", *SMALL, "--lr-schedule", "cosine", "--early-stop", "0", "--name", "t").code == 0
    assert found["generation 1", 0]["test"]["last"] == rows("t")["scratch", 0]["test"]["last"]


@pytest.mark.parametrize("generation", [1, 2, 3])
def test_a_run_that_was_interrupted_goes_on_and_ends_with_the_same_numbers(
    mentorch, monkeypatch: pytest.MonkeyPatch, generation: int
) -> None:
    words = ("evolve", *SMALL, "--generations", "3", "--controls", "restarts")
    assert call(*words, "--name", "whole").code == 0
    measured = _evolve.measured

    def interrupt(bench: Any, found: Any, *rest: Any, **options: Any) -> Any:
        if found.number == generation:
            raise KeyboardInterrupt
        return measured(bench, found, *rest, **options)

    with monkeypatch.context() as patch:
        patch.setattr(_evolve, "measured", interrupt)
        assert call(*words, "--name", "e").code == 130
    result = call("run", "runs/e/recipe.yaml", "--resume")
    assert result.code == 0, result.err
    assert numbers(Path("runs/e")) == numbers(Path("runs/whole"))
    assert histories(Path("runs/e")) == histories(Path("runs/whole"))
    cards = [zoo.read(f"runs/{run}/nodes/evolve-slim-seed-0").hash for run in ("e", "whole")]
    assert cards[0] == cards[1]
    assert call("run", "runs/e/recipe.yaml", "--resume").code == 0
    assert numbers(Path("runs/e")) == numbers(Path("runs/whole"))


@pytest.mark.parametrize(
    "words",
    [
        ("--mode", "random", "--keep", "0.3", "--redraw"),
        ("--mode", "wels"),
        ("--mode", "later", "--layers", "1"),
        ("--mode", "larger", "--keep", "0.3"),
        ("--law", "initial", "--norm", "both", "--bias"),
        ("--law", "zero", "--label-smoothing", "0.1", "--augment", "standard"),
        ("--select", "best", "--lr-schedule", "constant"),
    ],
    ids=lambda words: "".join(words),
)
def test_every_way_to_forget(mentorch, words: tuple[str, ...]) -> None:
    result = call(
        "evolve", *SMALL, "--generations", "2", *words, "--no-baseline", "--save-students", "none", "--name", "e"
    )
    assert result.code == 0, result.err
    found = rows("e")
    slim = ("evolve slim", 0) in found
    by_weights = words[1] in ("wels", "later", "larger")
    assert slim != by_weights
    assert ("there is no slim network" in result.err) == by_weights
    select = "best" if "best" in words else "last"
    assert set(found["generation 1", 0]["test"]) == {select}
    assert select in found["evolve", 0]["test"]
    assert not Path("runs/e/nodes").exists()
    assert call("run", "runs/e/recipe.yaml", "--name", "again").code == 0
    assert numbers(Path("runs/e")) == numbers(Path("runs/again"))


def test_it_begins_with_weights_and_may_be_distilled_into(taught: Path, mentorch) -> None:
    words = ("--network", taught, "--teacher", taught, "--method", "kd:temperature=4+pkt", "--reset-first")
    result = call("evolve", *QUICK, *words, "--generations", "2", "--name", "e")
    assert result.code == 0, result.err
    found = rows("e")
    edges = [edge["loss"] for edge in found["evolve", 0]["graph"]["edges"]]
    assert edges == [edge["loss"] for edge in found["scratch", 0]["graph"]["edges"]]
    assert [edge.partition("(")[0] for edge in edges[1:]] == ["kd", "pkt", "pkt_supervised"]
    assert zoo.read("runs/e/nodes/evolve-seed-0").network == "cnn_small"


def test_a_dry_run_says_what_is_kept_and_trains_nothing(mentorch) -> None:
    result = call("evolve", *SMALL, "--generations", "4", "--dry-run")
    assert result.code == 0
    for text in (
        "layer2.1.weight      288     72  25.0",
        "multiply-adds",
        "4 generations of 2 epochs",
        "scratch: 8 epochs",
    ):
        assert text in result.err
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--keep", "1"), "keep: Input should be less than 1"),
        (("--keep", "0"), "keep: Input should be greater than 0"),
        (("--keep", "half"), "keep: Input should be a valid number"),
        (("--generations", "1"), "generations: Input should be greater than or equal to 2"),
        (("--mode", "kel"), "mode: Input should be 'kels', 'random', 'wels', 'later' or 'larger'"),
        (("--redraw",), "redraw has no effect with mode kels (only random, wels)"),
        (("--mode", "later", "--keep", "0.3"), "keep has no effect with mode later"),
        (("--layers", "2"), "layers has no effect with mode kels"),
        (("--mode", "later", "--layers", "3"), "forget between 1 and 2 of 3 layers, not 3"),
        (("--mode", "wels", "--controls", "slim_scratch"), "slim_scratch needs a slim network, and mode wels has none"),
        (("--controls", "longer"), "unknown control 'longer' (known: restarts, slim_scratch)"),
        (("--early-stop", "5"), "early_stop must be 0, got 5"),
        (("--method", "kd"), "method has no effect with no teacher"),
        (("--reset-first",), "reset_first has no effect: cnn_tiny has no weights to forget"),
        (("--teacher", "cnn_small"), "teacher cnn_small has no weights"),
        (("--law", "normal"), "law: Input should be 'uniform', 'initial' or 'zero'"),
        (("--network", "cnn_tinny"), "did you mean"),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, tuple) else "",
)
def test_bad_input_is_refused_before_anything_is_trained(mentorch, words: tuple[str, ...], complaint: str) -> None:
    result = call("evolve", *SMALL, *words)
    assert result.code == 2
    assert complaint in result.error
    assert not Path("runs").exists()


def test_a_teacher_of_scratch_is_refused(taught: Path, mentorch) -> None:
    result = call("evolve", *SMALL, "--teacher", taught, "--method", "scratch")
    assert "scratch is no way to learn from a teacher" in result.error
    result = call("evolve", *SMALL, "--teacher", taught, "--label-smoothing", "0.1")
    assert "label_smoothing has no effect with a teacher" in result.error


def test_a_training_that_fails_is_a_row_with_its_error(mentorch) -> None:
    result = call(
        "evolve",
        *QUICK,
        "--network",
        "cnn_tiny",
        "--lr",
        "1e30",
        "--optimizer",
        "sgd",
        "--generations",
        "2",
        "--name",
        "e",
    )
    assert result.code == 1
    assert all("error" in row for row in rows("e").values())
    assert {name for name, _ in rows("e")} == {"scratch", "evolve"}


def test_weights_as_the_network_draws_them_itself(mentorch) -> None:
    data = load("digits", train_size=100)
    from mentorch.cli import _networks, _training
    from mentorch.cli._recipe import check
    from mentorch.cli._run import Session
    from mentorch.cli._structural_recipe import EvolveRecipe

    recipe = check(EvolveRecipe, {"network": "cnn_tiny", "law": "initial"})
    named = _networks.make("cnn_tiny", data)
    channels = plan(named.network, torch.zeros(1, 1, 8, 8))
    session = Session(recipe, quiet=True)
    job = _evolve._Job(recipe, session, data, _training.view(recipe, data), named, channels, lambda network: network)
    before = torch.random.get_rng_state()
    drawn = job._initial(
        "layer2.1.weight", named.network.get_parameter("layer2.1.weight"), torch.Generator().manual_seed(7)
    )
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(7)
    fresh = build("cnn_tiny", num_classes=10, in_channels=1)
    assert torch.equal(drawn, fresh.get_parameter("layer2.1.weight"))
