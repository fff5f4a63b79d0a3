from dataclasses import FrozenInstanceError
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mentorch import UsageError, networks
from mentorch.gates import Linear, Scaled
from mentorch.losses import (
    OFA,
    OFD,
    LossInfo,
    ab,
    about,
    attention,
    catalogue,
    dkd,
    kd,
    standardized,
    where_confident,
    where_correct,
)
from mentorch.losses._info import describe, layers
from mentorch.methods import distill
from mentorch.networks import Taps


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
    ("loss", "gates"),
    [
        (ab, [0.00075, 0.0015, 0.003]),
        (OFD, [0.00025, 0.0005, 0.001]),
        ((OFD, 1.0), [0.25, 0.5, 1.0]),
        (attention, [1000.0, 1000.0, 1000.0]),
    ],
)
def test_stages_weigh_as_published(loss, gates: list[float]):
    student, teacher = networks.resnet8(10), networks.resnet14(10)
    graph = distill(student, teacher, loss, labels=0, example=(torch.zeros(2, 3, 32, 32),))
    assert [edge.gate for edge in graph.edges] == gates


def test_gates_that_move_are_scaled_for_shallow_stages():
    images = (torch.zeros(2, 3, 32, 32),)
    graph = distill(networks.resnet8(10), networks.resnet14(10), (ab, Linear(0, 8)), labels=0, example=images)
    assert [edge.gate(0.5) for edge in graph.edges] == [1.0, 2.0, 4.0]
    assert graph.edges[0].gate == Scaled(0.25, Linear(0, 8))
    assert graph.edges[2].gate == Linear(0, 8)


def test_ab_compares_signs_also_where_maps_after_the_activation_are_all_there_is():
    torch.manual_seed(0)
    student, teacher = (networks.cnn_tiny(10), networks.cnn_small(10))
    shown = {"student": Taps("", ("layer1",), "fc:in"), "teacher": Taps("", ("layer1",), "fc:in")}
    for network in (student, teacher):
        network.layer1.append(nn.MaxPool2d(2))  # no activation at the end: nothing comes before it
    images = torch.rand(4, 3, 32, 32)
    graph = distill(student, teacher, ab, labels=0, places=shown, example=(images,))
    (edge,) = graph.edges
    assert edge.sources == ("teacher.layer1",)
    assert teacher.layer1(images).min() >= 0
    assert edge.adapter(student.layer1(images)).min() < 0


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
