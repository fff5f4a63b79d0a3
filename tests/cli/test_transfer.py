from typing import Any

import pytest

from mentorch import UsageError
from mentorch.cli._recipe import check
from mentorch.cli._transfer import CompareRecipe, DistillRecipe


def test_the_older_names_of_methods_are_understood() -> None:
    assert DistillRecipe(method="pkt+distillation").method == "kd+pkt"
    recipe = CompareRecipe(methods=("distillation", "pkt+distillation", "kd", "pkt"))
    assert recipe.methods == ("kd", "kd+pkt", "pkt")


def test_a_method_that_is_there_twice_under_two_names_is_carried_out_once() -> None:
    recipe = check(CompareRecipe, {"methods": "kd,pkt,distillation,kd"})
    assert recipe.methods == recipe.asked == ("kd", "pkt")


def test_one_method_has_the_student_without_it_beside_unless_it_is_left_out() -> None:
    assert DistillRecipe(method="dkd").asked == ("scratch", "dkd")
    assert DistillRecipe(method="dkd", baseline=False).asked == ("dkd",)


def test_what_is_set_for_losses_gets_their_types() -> None:
    recipe = check(CompareRecipe, {"methods": "kd,dkd", "set": "temperature=6,kd.t_squared=no"})
    assert recipe.set == {"temperature": 6.0, "kd.t_squared": False}
    assert type(recipe.set["temperature"]) is float


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        (
            {"methods": "pkt", "set": "temperature=3"},
            "temperature has no effect with methods pkt (only crd, dist, dkd,",
        ),
        ({"temperature": 3}, "unknown option 'temperature': what is set for losses is written 'set: {temperature: "),
        ({"methods": "kdd"}, "unknown method 'kdd': did you mean 'kd'"),
        ({"methods": "pkt", "kd_supervised": 1}, "kd_supervised has no effect with methods pkt (only kd)"),
        ({"methods": "dkd", "set": {"t_squared": False}}, "t_squared has no effect with methods dkd (only kd)"),
        ({"methods": "kd", "pkt_supervised": 1}, "pkt_supervised has no effect with methods kd (only pkt)"),
        ({"methods": "scratch", "teacher": "big"}, "teacher has no effect with methods scratch"),
        ({"methods": "scratch", "min_teacher_acc": 0}, "min_teacher_acc has no effect with methods scratch"),
        ({"methods": "scratch", "sub_teachers": "mean"}, "sub_teachers has no effect with methods scratch"),
        ({"methods": ","}, "methods: name at least one"),
        ({"teacher": ","}, "teacher: name at least one"),
        ({"methods": "scratch", "cache": "logits"}, "cache has no effect with methods scratch"),
        ({"views": 8}, "views has no effect with augment none"),
    ],
)
def test_a_choice_without_effect_or_sense_is_refused(values: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UsageError) as error:
        check(CompareRecipe, values)
    assert complaint in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"method": "scratch"}, "method: scratch is without teacher: see mentorch train, got 'scratch'"),
        ({"method": "pkt", "kd_supervised": 1}, "kd_supervised has no effect with methods scratch, pkt (only kd)"),
        ({"method": "kd", "baseline": False, "pkt_supervised": 1}, "with methods kd (only pkt)"),
        ({"method": "dkd", "set": {"kd.temperature": 2}}, "unknown loss in --set 'kd'"),
    ],
)
def test_the_same_of_one_method(values: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UsageError) as error:
        check(DistillRecipe, values)
    assert complaint in str(error.value)
    assert "\n" not in str(error.value)


def test_with_a_baseline_beside_it_the_teacher_of_a_method_still_counts() -> None:
    values = {"teacher": "big", "min_teacher_acc": 0.5, "cache": "logits", "views": 2, "augment": "standard"}
    recipe = check(DistillRecipe, {"method": "kd", **values})
    assert {name: recipe.to_plain()[name] for name in ("min_teacher_acc", "cache", "views")} == {
        "min_teacher_acc": 0.5,
        "cache": "logits",
        "views": 2,
    }
