import copy
from collections.abc import Mapping
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mentorch import UsageError, losses, networks
from mentorch.cli import _methods, _notation
from mentorch.cli._recipe import check
from mentorch.cli._transfer import CompareRecipe
from mentorch.comparison import Teacher
from mentorch.data import Batches, load, strong
from mentorch.networks import Taps


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def found(count: int = 1, /, **options: Any) -> dict[str, Tensor]:
    """The weighted losses of the one method of a recipe, with the logits that they are made of."""
    torch.manual_seed(0)
    names = ["teacher"] if count == 1 else [f"teacher{i + 1}" for i in range(count)]
    nets = {name: networks.cnn_small(10, 1) for name in names}
    student = networks.cnn_tiny(10, 1)
    recipe = check(CompareRecipe, {"teacher": names, **options})
    assert isinstance(recipe, CompareRecipe)
    made = _methods.make(recipe, {name: Teacher(net) for name, net in nets.items()}, None, {}, load("digits"))
    (method,) = made.values()
    images, labels = torch.rand(8, 1, 8, 8), torch.randint(0, 10, (8,))
    graph = method.draw(copy.deepcopy(student))
    losses_ = graph(images, labels=labels)
    student.train()
    with torch.no_grad():
        outputs = {"student": student(images), **{name: net.eval()(images) for name, net in nets.items()}}
    return {**losses_, **outputs, "labels": labels}


def kd_by_hand(all_: Mapping[str, Tensor], temperature: float) -> float:
    q, p = (all_["student"] / temperature).log_softmax(1), (all_["teacher"] / temperature).softmax(1)
    return F.kl_div(q, p, reduction="batchmean").item() * temperature**2


@pytest.mark.parametrize(
    ("options", "temperature", "weight", "hard"),
    [
        ({}, 2.0, 1.0, 0.1),  # the toolkit's defaults: T = 2, weight 1, 0.1 on the labels
        ({"set": "temperature=6"}, 6.0, 1.0, 0.1),
        ({"weight": "kd=0.5"}, 2.0, 0.5, 0.1),
        ({"kd_supervised": 0.3}, 2.0, 1.0, 0.3),
        ({"set": {"kd.temperature": 6, "temperature": 3}}, 6.0, 1.0, 0.1),
    ],
)
def test_kd_is_the_formula_of_the_toolkit(
    options: dict[str, Any], temperature: float, weight: float, hard: float
) -> None:
    all_ = found(methods="kd", **options)
    assert all_["teacher -> student: kd"].item() == pytest.approx(weight * kd_by_hand(all_, temperature), rel=1e-4)
    expected = hard * F.cross_entropy(all_["student"], all_["labels"]).item()
    assert all_["labels -> student: cross_entropy"].item() == pytest.approx(expected, rel=1e-5)


def test_without_t_squared_and_with_standardised_logits() -> None:
    plain = found(methods="kd", set="temperature=3")
    assert found(methods="kd", set="temperature=3,t_squared=false")[
        "teacher -> student: kd"
    ].item() * 9 == pytest.approx(plain["teacher -> student: kd"].item(), rel=1e-5)
    all_ = found(methods="standardized-kd")
    loss = losses.standardized(partial(losses.kd, temperature=2.0))
    expected = 9 * loss(all_["student"], all_["teacher"]).mean().item()
    assert all_["teacher -> student: standardized(kd)"].item() == pytest.approx(expected, rel=1e-4)


def test_a_published_weight_of_a_wrapped_loss_holds_under_more_wrappers() -> None:
    (part,) = _notation.parse("where_correct-standardized-kd")
    recipe = check(CompareRecipe, {"teacher": "cnn_small", "methods": "where_correct-standardized-kd"})
    assert isinstance(recipe, CompareRecipe)
    assert _methods._weight(part, recipe) == 9.0


def test_no_weight_on_the_labels_leaves_their_edge_out() -> None:
    assert "labels -> student: cross_entropy" not in found(methods="kd", kd_supervised=0)


def test_dkd_keeps_its_published_temperature_unless_told() -> None:
    all_ = found(methods="dkd")
    expected = losses.dkd(all_["student"], all_["teacher"], all_["labels"], temperature=4.0).mean().item()
    assert all_["teacher, labels -> student: dkd"].item() == pytest.approx(expected, rel=1e-4)
    told = found(methods="dkd", set="temperature=2")["teacher, labels -> student: dkd"].item()
    assert told == pytest.approx(
        losses.dkd(all_["student"], all_["teacher"], all_["labels"], temperature=2.0).mean().item(), rel=1e-4
    )


def test_pkt_has_its_published_weight_and_a_supervised_term_relative_to_it() -> None:
    plain = found(methods="pkt")
    name, supervised = "teacher.fc:in -> student.fc:in: pkt", "labels -> student.fc:in: pkt_supervised"
    one = found(methods="pkt", weight="pkt=1")
    assert plain[name].item() == pytest.approx(losses.catalogue()["pkt"].weight * one[name].item(), rel=1e-4)
    assert plain[supervised].item() == pytest.approx(
        losses.catalogue()["pkt"].weight * one[supervised].item(), rel=1e-4
    )
    strong = found(methods="pkt", pkt_supervised=1e-2)
    assert strong[supervised].item() == pytest.approx(100 * plain[supervised].item(), rel=1e-4)
    assert strong[name].item() == pytest.approx(plain[name].item(), rel=1e-5)
    assert supervised not in found(methods="pkt", pkt_supervised=0)


def test_a_sum_has_the_losses_of_its_parts_in_any_order() -> None:
    one, other = found(methods="kd+pkt"), found(methods="pkt+kd")
    assert {name: value.tolist() for name, value in one.items()} == {
        name: value.tolist() for name, value in other.items()
    }
    kd, pkt = found(methods="kd"), found(methods="pkt")
    for name, value in one.items():
        if name not in ("labels", "student", "teacher"):
            assert value.item() == pytest.approx((kd if name in kd else pkt)[name].item(), rel=1e-5), name


def test_a_weight_of_a_loss_that_no_method_has_is_refused() -> None:
    with pytest.raises(UsageError, match="unknown loss in --weight 'dkd': did you mean 'kd'"):
        found(methods="kd", weight="dkd=2")


@pytest.mark.parametrize("method", ["pkt", "kd+pkt", "dkd"])
def test_several_teachers_work_with_kd_only(method: str) -> None:
    with pytest.raises(UsageError, match="several teachers work with the methods scratch and kd"):
        found(2, methods=method)


def test_the_mean_of_sub_teachers_is_the_mean_of_their_softened_answers() -> None:
    all_ = found(2, methods="kd", set="temperature=3", weight="kd=0.5")
    p = ((all_["teacher1"] / 3).softmax(1) + (all_["teacher2"] / 3).softmax(1)) / 2
    expected = 0.5 * 9 * F.kl_div((all_["student"] / 3).log_softmax(1), p, reduction="batchmean").item()
    assert all_["mean of teacher1, teacher2 -> student: kd"].item() == pytest.approx(expected, rel=1e-4)


def test_winner_draws_a_copy_for_each_teacher() -> None:
    all_ = found(2, methods="kd", sub_teachers="winner")
    for i in (1, 2):
        expected = losses.kd(all_["student"], all_[f"teacher{i}"], temperature=2.0).mean().item()
        assert all_[f"teacher{i} -> student_teacher{i}: kd"].item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("form", ["mean", "winner"])
def test_one_sub_teacher_is_plain_distillation(form: str) -> None:
    plain, alone = found(methods="kd"), found(methods="kd", sub_teachers=form)
    assert {name: value.tolist() for name, value in plain.items()} == {
        name: value.tolist() for name, value in alone.items()
    }


def test_places_complete_what_a_network_says_of_itself() -> None:
    nets = {"student": networks.cnn_tiny(), "teacher": nn.Sequential(nn.Flatten(), nn.Linear(4, 3))}
    assert _methods.places({}, nets) == {}
    made = _methods.places({"student.embedding": "layer2", "teacher.stages": "0;1", "teacher.embedding": "1:in"}, nets)
    own = nets["student"].taps
    assert made["student"] == Taps(own.stem, own.stages, "layer2")
    assert made["teacher"] == Taps("", ("0", "1"), "1:in")


@pytest.mark.parametrize(
    ("tap", "complaint"),
    [
        ({"studnt.embedding": "fc:in"}, "unknown node in --tap 'studnt': did you mean 'student'"),
        ({"student.head": "fc"}, "--tap student.head=fc: write student.embedding=PLACE"),
        ({"student": "fc"}, "--tap student=fc"),
    ],
)
def test_a_tap_of_another_form_is_refused(tap: dict[str, str], complaint: str) -> None:
    with pytest.raises(UsageError) as error:
        _methods.places(tap, {"student": networks.cnn_tiny()})
    assert complaint in str(error.value)


def test_scratch_needs_no_teacher() -> None:
    assert not _methods.needs_teacher(["scratch"])
    assert _methods.needs_teacher(["scratch", "kd"])
    recipe = CompareRecipe(methods=("scratch",))
    (method,) = _methods.make(recipe, {}, None, {}, load("digits")).values()
    assert [edge.name for edge in method.draw(networks.cnn_tiny(10, 1)).edges] == ["labels -> student: cross_entropy"]


def test_a_loss_on_two_views_is_shown_two() -> None:
    recipe = check(CompareRecipe, {"teacher": ["t"], "methods": ["mlkd", "kd"]})
    data = load("digits")
    made = _methods.make(recipe, {"teacher": Teacher(networks.cnn_small(10, 1))}, None, {}, data)
    assert made["mlkd"].strong == strong(data)
    assert made["kd"].strong is None
    graph = made["mlkd"].draw(networks.cnn_tiny(10, 1))
    gates = {edge.name: edge.gate for edge in graph.edges}
    assert gates == {"labels -> student: cross_entropy": 0.2, "teacher -> student: mlkd": 0.9}  # as published
    batch = next(iter(Batches(data.train, 4, strong=made["mlkd"].strong)))
    assert len(batch.inputs) == 8
    assert all(torch.isfinite(loss) for loss in graph(*batch).values())


def test_two_views_are_not_kept_in_a_cache() -> None:
    recipe = check(CompareRecipe, {"teacher": ["t"], "methods": ["mlkd"], "cache": "logits"})
    with pytest.raises(UsageError, match=r"mlkd reads two views of each sample at once, .* --cache off"):
        _methods.make(recipe, {"teacher": Teacher(networks.cnn_small(10, 1))}, None, {}, load("digits"))
