from dataclasses import FrozenInstanceError
from functools import partial

import pytest
import torch.nn.functional as F

from mentorch import UsageError
from mentorch.losses import OFA, LossInfo, about, catalogue, dkd, kd, standardized, where_confident, where_correct
from mentorch.losses._info import describe, layers


def test_a_loss_is_named_after_its_function():
    info = LossInfo(kd, reads="logits", kind="sample", weight=1.0, summary="s", paper="p")
    assert info.name == "kd"
    assert (info.teacher, info.labels, info.adapter, info.labels_weight) == (True, False, False, 1.0)
    assert (info.index, info.context, info.preact, info.also, info.is_class) == (False, (), False, (), False)


def test_a_class_is_named_in_lower_case_unless_told():
    facts = {"reads": "logits", "kind": "sample", "weight": 1.0, "summary": "s", "paper": "p"}
    assert LossInfo(OFA, **facts).name == "ofa"
    assert LossInfo(OFA, name="one_for_all", **facts).name == "one_for_all"
    assert LossInfo(OFA, **facts).is_class


def test_facts_are_frozen():
    with pytest.raises(FrozenInstanceError):
        catalogue()["kd"].weight = 2.0


def test_published_recipes():
    weights = {name: (info.weight, info.labels_weight) for name, info in catalogue().items()}
    assert weights["kd"] == (0.9, 0.1)
    assert weights["dkd"] == (1.0, 1.0)
    assert weights["dist"] == (2.0, 1.0)
    assert weights["mlkd"] == (0.9, 0.2)
    assert weights["ofa"] == (1.0, 1.0)
    assert weights["hint"] == (100.0, 1.0)
    assert weights["attention"] == (1000.0, 1.0)
    assert weights["pkt"] == (468.75, 1.0)
    assert weights["pkt_supervised"][0] == pytest.approx(0.46875)


@pytest.mark.parametrize(
    ("loss", "name", "also"),
    [
        (kd, "kd", ()),
        (partial(kd, temperature=2.0), "kd", ()),
        (standardized(partial(kd, temperature=2.0)), "kd", ()),
        (partial(partial(dkd, beta=2.0), alpha=2.0), "dkd", ()),
        (where_correct(partial(dkd, beta=2.0)), "dkd", ("labels",)),
        (where_confident(where_correct(standardized(kd))), "kd", ("labels",)),
        (where_correct(where_correct(kd)), "kd", ("labels", "labels")),
        (OFA, "ofa", ()),
        (OFA(exponent=1.5), "ofa", ()),
        (partial(OFA, exponent=1.5), "ofa", ()),
    ],
)
def test_facts_are_found_under_options_and_wrappers(loss, name: str, also: tuple[str, ...]):
    info = about(loss)
    assert (info.name, info.also) == (name, also)
    assert info.function is catalogue()[name].function


@pytest.mark.parametrize("loss", [F.mse_loss, partial(F.mse_loss, reduction="none"), where_correct(F.mse_loss)])
def test_a_foreign_loss_has_no_facts(loss):
    with pytest.raises(UsageError, match=r"mse_loss.* is not in mentorch.losses: draw its Edge yourself"):
        about(loss)


def test_losses_print_as_they_were_written():
    assert describe(kd) == "kd"
    assert describe(partial(OFA, exponent=1.5)) == "partial(OFA, exponent=1.5)"
    assert describe(where_correct(standardized(partial(kd, temperature=2.0)), divide_by="passed")) == (
        "where_correct(standardized(partial(kd, temperature=2.0)), divide_by='passed')"
    )
    assert layers(where_correct(partial(kd, temperature=2.0)))[-1] is kd
