from dataclasses import FrozenInstanceError

import pytest

from mentorch.losses import LossInfo, catalogue, kd


def test_a_loss_is_named_after_its_function():
    info = LossInfo(kd, reads="logits", kind="sample", weight=1.0, summary="s", paper="p")
    assert info.name == "kd"
    assert (info.teacher, info.labels, info.adapter, info.labels_weight) == (True, False, False, 1.0)


def test_facts_are_frozen():
    with pytest.raises(FrozenInstanceError):
        catalogue()["kd"].weight = 2.0


def test_published_recipes():
    weights = {name: (info.weight, info.labels_weight) for name, info in catalogue().items()}
    assert weights["kd"] == (0.9, 0.1)
    assert weights["dkd"] == (1.0, 1.0)
    assert weights["hint"] == (100.0, 1.0)
    assert weights["attention"] == (1000.0, 1.0)
    assert weights["pkt"] == (468.75, 1.0)
    assert weights["pkt_supervised"][0] == pytest.approx(0.46875)
