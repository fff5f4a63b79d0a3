from pathlib import Path

import torch

from mentorch import zoo
from mentorch.transferability._atlas._facts import facts, failed, links
from mentorch.transferability._atlas._neighbours import Neighbours


def entry(keep, tmp_path: Path, **changes) -> zoo.Entry:
    keep(tmp_path, "n", **changes)
    return next(iter(zoo.entries(tmp_path)))


def test_a_card_in_short(keep, tmp_path: Path):
    found = facts(
        entry(keep, tmp_path, dataset="digits", licence="MIT", tags={"seed": 3, "mine": True}, parents=("ab",))
    )
    expected = {"name": "n", "network": "cnn_tiny", "task": "classification", "dataset": "digits", "classes": 5}
    expected |= {"input": "3x8x8", "licence": "MIT", "tags": "seed: 3, mine: True", "parents": 1}
    assert expected.items() <= found.items()
    assert found["bytes"] == (tmp_path / "n" / "model.safetensors").stat().st_size
    assert len(found["hash"]) > 12
    assert not {"accuracy", "url"} & found.keys()  # nobody knows them


def test_accuracy_is_found_wherever_a_card_keeps_it(keep, tmp_path: Path):
    cases = {0.5: {"accuracy": 0.5}, 0.75: {"best": {"accuracy": 0.75}, "last": {"accuracy": 0.7}}}
    for value, test in cases.items():
        assert facts(entry(keep, tmp_path / str(value), metrics={"test": test}))["accuracy"] == value
    for i, test in enumerate((None, {}, {"best": None}, {"accuracy": "high"}, 3)):
        assert "accuracy" not in facts(entry(keep, tmp_path / f"odd-{i}", metrics={"test": test}))


def test_links_hold_both_parts_and_their_sum():
    near = Neighbours(torch.tensor([[1], [0]]), torch.tensor([[0.5], [0.5]]), torch.tensor([[0.25], [-0.25]]))
    assert links(near, 2.0) == [
        {"source": 0, "target": 1, "similarity": 1.0, "nodes": 0.5, "edges": 0.25},
        {"source": 1, "target": 0, "similarity": 0.0, "nodes": 0.5, "edges": -0.25},
    ]


def test_failures_have_a_name_a_folder_and_a_reason():
    assert failed([zoo.Entry("a", Path("z/a"), failure="torn")]) == [{"name": "a", "folder": "z/a", "reason": "torn"}]
