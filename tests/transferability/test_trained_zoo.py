"""Scores against measured truth, on the zoo that the example trains; its table is in docs/rankings.md."""

import importlib.util
from pathlib import Path

import pytest
import torch

from mentorch.transferability import null_band

SCRIPT = Path(__file__).parents[2] / "examples" / "trained_zoo.py"


@pytest.fixture(scope="module")
def example():
    specification = importlib.util.spec_from_file_location("trained_zoo", SCRIPT)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_the_world_has_four_independent_factors(example):
    images, values = example.draw(2000, 0)
    assert images.shape == (2000, 1, 16, 16)
    assert torch.equal(images, example.draw(2000, 0)[0])
    counts = torch.bincount(example.classes_of(values, ("shape", "angle")), minlength=16)
    assert counts.min() > 80
    inverted, same = example.draw(2000, 0, inverted=True)
    assert torch.equal(values, same)
    assert inverted.float().mean() > images.float().mean() + 50


def test_the_zoo_has_twenty_four_sources_and_a_few_labels_are_balanced(example):
    assert len(example.sources()) == 24
    _, values = example.draw(4000, 3)
    for factors, count in example.TARGETS.values():
        labels = example.classes_of(values, factors)[example.few(values, factors, count)]
        assert torch.bincount(labels).tolist() == [count // 4 ** len(factors)] * 4 ** len(factors)


def test_a_truth_that_is_none_is_told(example):
    repeats = torch.tensor([[0.50, 0.52], [0.60, 0.62]])
    assert example.judge(repeats.mean(1), repeats) == ""
    assert "saturated" in example.judge(torch.tensor([0.5, 0.999]), repeats)
    assert "less than 7 times" in example.judge(torch.tensor([0.55, 0.56]), repeats)


@pytest.mark.slow
def test_scores_find_what_serves_a_target(example, tmp_path):
    options = example.options(["--out", str(tmp_path), "--targets", "angle", "frequency"])
    found = example.run(options)
    for target, facts in found.items():
        repeats = torch.tensor(facts["tuned"])
        assert example.judge(repeats.mean(1), repeats) == "", target
    rows = {row["score"]: row for row in example.table(found)}
    floors = {"logme": 0.5, "ridge": 0.5, "gbc": 0.5, "parc": 0.5, "leep": 0.4, "cka, full": 0.6}
    floors |= {"depara(weight=1.0), full": 0.5, "depara(weight=0.0), full": 0.4}
    floors["knn"] = null_band(len(example.sources())).high  # no better than that in this world
    static = rows["static: mean rank on the other targets"]["tau"]
    for score, floor in floors.items():
        assert rows[score]["tau"] >= max(floor, static), score
    for score in ("logme", "ridge", "gbc", "parc"):
        assert rows[score]["regret"] <= 0.06, score
