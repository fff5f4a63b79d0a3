import json
from pathlib import Path
from typing import Any

import pytest
import torch

from mentorch import zoo
from mentorch.cli import _slim
from mentorch.data import load
from mentorch.networks import build, state_hash
from mentorch.structure import plan, scores

from .conftest import call, numbers

QUICK = ("--epochs", "2", "--batch-size", "50", "--train-size", "100", "--no-tensorboard", "--no-results", "--knn", "0")


def rows(run: str) -> dict[tuple[str, int], dict[str, Any]]:
    found = json.loads((Path("runs") / run / "results.json").read_text())["rows"]
    return {(row["method"], row["seed"]): row for row in found}


def cost(network: torch.nn.Module) -> tuple[int, int]:
    found = plan(network, torch.zeros(1, 1, 8, 8))
    return found.cost(found.shapes)


@pytest.mark.parametrize(("of", "place"), [("macs", 1), ("parameters", 0)])
def test_networks_of_one_cost_in_one_table(taught: Path, mentorch, of: str, place: int) -> None:
    words = ("--network", taught, "--to", "0.4", "--of", of, "--steps", "2", "--seeds", "0", "1")
    result = call("slim", *QUICK, *words, "--name", "s")
    assert result.code == 0, result.err
    results = json.loads(Path("runs/s/results.json").read_text())
    assert results["kind"] == "slim"
    whole, _ = zoo.load(taught)
    assert (results["teacher"]["parameters"], results["teacher"]["macs"]) == cost(whole)
    found = rows("s")
    assert list(found) == [(name, seed) for name in ("scratch", "finetune", "kd") for seed in (0, 1)]
    for (name, seed), row in found.items():
        network, card = zoo.load(f"runs/s/nodes/{name}-seed-{seed}")
        assert len(card.structure) == (1 if name == "scratch" else 2)
        assert card.parents == (() if name == "scratch" else (zoo.read(taught).hash,))
        assert 0.25 < cost(network)[place] / cost(whole)[place] <= 0.4, name
        assert row["parameters"] == cost(network)[0]
        # 6 epochs that the network has had, and 2 for each step
        assert (row["epochs"], row["trained_samples"]) == ((10, 1000) if name == "scratch" else (4, 400))
        assert row["macs"] > 3 * row["trained_samples"] * cost(network)[1] - 1
    assert found["kd", 0]["macs"] > found["finetune", 0]["macs"] + 399 * cost(whole)[1]
    assert [edge["loss"] for edge in found["kd", 0]["graph"]["edges"]][1:] != []
    assert found["finetune", 0]["test"] != found["finetune", 1]["test"]
    assert "scratch: 10 epochs from fresh weights at the same cost" in result.err
    assert not list(Path("runs/s").rglob("checkpoints"))


@pytest.mark.parametrize(
    "words",
    [
        ("--by", "taylor", "--augment", "standard"),
        ("--by", "random", "--scope", "layer"),
        (
            "--by",
            "bn",
        ),
        ("--by", "l2", "--select", "best", "--steps", "2"),
        ("--methods", "dkd:beta=2+pkt", "finetune"),
    ],
    ids=lambda words: "".join(words),
)
def test_every_way_to_choose_and_to_learn(taught: Path, mentorch, words: tuple[str, ...]) -> None:
    result = call(
        "slim", *QUICK, "--network", taught, *words, "--no-baseline", "--save-students", "none", "--name", "s"
    )
    assert result.code == 0, result.err
    assert "scratch" not in {name for name, _ in rows("s")}
    for row in rows("s").values():  # with select best, a step ends with its best weights
        assert set(row["test"]) == set(row["validation"]) == ({"best"} if "best" in words else {"best", "last"})
    assert call("run", "runs/s/recipe.yaml", "--name", "again").code == 0
    assert numbers(Path("runs/s")) == numbers(Path("runs/again"))


def test_a_slim_network_can_be_made_slimmer(taught: Path, mentorch) -> None:
    words = ("--methods", "finetune", "--no-baseline")
    assert call("slim", *QUICK, "--network", taught, *words, "--name", "s").code == 0
    result = call("slim", *QUICK, "--network", "runs/s/nodes/finetune-seed-0", "--methods", "kd", "--name", "again")
    assert result.code == 0, result.err
    for name in ("kd", "scratch"):
        network, card = zoo.load(f"runs/again/nodes/{name}-seed-0")
        assert len(card.structure) == 2
        assert cost(network)[1] <= 0.25 * cost(zoo.load(taught)[0])[1]


@pytest.mark.parametrize("number", [1, 2])
def test_a_run_that_was_interrupted_goes_on_and_ends_with_the_same_numbers(
    taught: Path, mentorch, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    words = ("slim", *QUICK, "--network", taught, "--steps", "2")
    assert call(*words, "--name", "whole").code == 0

    def interrupted(*arguments: Any, **options: Any) -> Any:
        for step in slim_down(*arguments, **options):
            if step.number == number:
                raise KeyboardInterrupt
            yield step

    slim_down = _slim.slim_down
    with monkeypatch.context() as patch:
        patch.setattr(_slim, "slim_down", interrupted)
        assert call(*words, "--name", "s").code == 130
    result = call("run", "runs/s/recipe.yaml", "--resume")
    assert result.code == 0, result.err
    assert numbers(Path("runs/s")) == numbers(Path("runs/whole"))
    assert zoo.read("runs/s/nodes/kd-seed-0").hash == zoo.read("runs/whole/nodes/kd-seed-0").hash


def test_taylor_scores_are_those_of_the_training_images(taught: Path, mentorch) -> None:
    from mentorch.cli import _networks, _training
    from mentorch.cli._recipe import check
    from mentorch.cli._run import Session
    from mentorch.cli._structural_recipe import SlimRecipe
    from mentorch.cli._turns import as_teacher

    recipe = check(SlimRecipe, {"network": str(taught), "by": "taylor", "train_size": 100, "batch_size": 50})
    data = load("digits", train_size=100)
    named = _networks.make(str(taught), data)
    view = _training.view(recipe, data)
    job = _slim._Job(recipe, Session(recipe, quiet=True), data, view, named, as_teacher(named, view))
    network = build("cnn_small", num_classes=10, in_channels=1)
    channels = plan(network, torch.zeros(1, 1, 8, 8))
    before = state_hash(network)
    found = job._scores(network, channels)
    assert state_hash(network) == before  # nor do statistics of batch norms move
    assert all(p.grad is None for p in network.parameters())
    network.train()
    for batch in job.batches(0, 1, augmented=False):
        torch.nn.functional.cross_entropy(network(view(batch.inputs)), batch.labels).backward()
    torch.testing.assert_close(found, scores(network, channels, "taylor"), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ((), "name one that has learned"),
        (("--network", "cnn_small"), "cnn_small has no weights: train it first"),
        (("--network", "TAUGHT", "--to", "1"), "to: Input should be less than 1"),
        (("--network", "TAUGHT", "--to", "0.001"), "is the least"),
        (("--network", "TAUGHT", "--of", "channels"), "of: Input should be 'macs' or 'parameters'"),
        (("--network", "TAUGHT", "--by", "l3"), "by: Input should be"),
        (("--network", "TAUGHT", "--steps", "0"), "steps: Input should be greater than or equal to 1"),
        (("--network", "TAUGHT", "--methods", "kdd"), "unknown method 'kdd'"),
        (("--network", "TAUGHT", "--methods", "scratch"), "scratch is no way to learn from a teacher"),
        (("--network", "TAUGHT", "--no-baseline", "--baseline-epochs", "3"), "baseline_epochs has no effect"),
        (("--network", "TAUGHT", "--early-stop", "3"), "early_stop must be 0"),
        (("--network", "TAUGHT", "--data", "mnist"), "mnist"),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, tuple) else "",
)
def test_bad_input_is_refused_before_anything_is_trained(
    taught: Path, mentorch, words: tuple[str, ...], complaint: str
) -> None:
    result = call("slim", *QUICK, *(str(taught) if word == "TAUGHT" else word for word in words))
    assert result.code in (1, 2)
    assert complaint in result.error
    assert not Path("runs").exists()
