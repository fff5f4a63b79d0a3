import json
from pathlib import Path
from typing import Any

import pytest
import torch

from mentorch import zoo
from mentorch.data import Batches, Normalize, dense
from mentorch.metrics import segmentation
from mentorch.networks import Branched, cost, state_hash

from .conftest import TASKS


def results_of(run: Path) -> dict[str, Any]:
    return json.loads((run / "results.json").read_text())


def test_students_come_back_from_their_cards_and_measure_the_same(branched: Path) -> None:
    data = dense.scenes((16, 24), train=24, validation=2, test=6)
    for row in results_of(branched)["rows"]:
        network, card = zoo.load(branched / row["model"])
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
        assert card.parents == tuple(state_hash(zoo.load(branched / "nodes" / task)[0]) for task in TASKS)
    # of a finished student the result is kept, and not what led there
    assert {place.relative_to(branched).parts[1] for place in branched.rglob("checkpoints")} <= set(TASKS)


def test_the_report_shows_every_task_of_everybody(branched: Path) -> None:
    page, summary = (branched / "report.html").read_text(), (branched / "summary.md").read_text()
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
    assert "Without several seeds no difference to the student from labels" in page
