import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mentorch import UsageError
from mentorch.cli._recipe import OPTIMIZERS, Recipe, TrainRecipe, check
from mentorch.cli._transfer import CompareRecipe
from mentorch.cli._yaml import RECIPES

# The defaults of the comparison toolkit under today's names. On purpose different from it, each with its reason:
# `methods` has scratch first (a comparison needs what the methods have to beat), `seeds` is a list, `val_fraction` is
# 0.1 (0.3 by --protocol public), `set` holds no temperature (2 for kd and the published 4 for dkd, see test_methods),
# `weight` holds no pkt=1 (pkt is a mean over pairs here; its published weight is in the catalogue), `out` is "runs".
DEFAULTS: dict[str, Any] = {
    "methods": ("scratch", "kd", "pkt", "kd+pkt"),
    "sub_teachers": "mean",
    "student_weights": None,
    "set": {},
    "kd_supervised": 0.1,
    "pkt_supervised": 1e-4,
    "knn": 5,
    "retrieval": False,
    "cache": "off",
    "views": None,
    "weight": {},
    "select": "best",
    "save_students": "best",
    "results": True,
    "name": None,
    "out": "runs",
    "optimizer": "adam",
    "keras_compat": False,
    "lr": 1e-3,
    "lr_patience": 8,
    "lr_factor": 0.1,
    "lr_min": 1e-8,
    "early_stop": 15,
    "clip_norm": None,
    "clip_value": None,
    "betas": (0.9, 0.999),
    "rho": 0.9,
    "momentum": 0.0,
    "lr_time_decay": 1e-6,
    "weight_decay": 0.0,
    "batch_size": 64,
    "eval_batch_size": 128,
    "epochs": 125,
    "seeds": (0,),
    "val_fraction": 0.1,
    "device": "auto",
    "precision": "32-true",
    "compile": False,
    "augment": "none",
    "protocol": "modern",
    "tap": {},
}

# every option once with another value, and what it needs beside it
CHANGES: dict[str, tuple[list[str], Any, list[str]]] = {
    "data": (["--data", "folder:photos"], "folder:photos", []),
    "data_root": (["--data-root", "somewhere"], "somewhere", []),
    "val_fraction": (["--val-fraction", "0.25"], 0.25, []),
    "split_seed": (["--split-seed", "3"], 3, []),
    "train_size": (["--train-size", "90"], 90, []),
    "image_size": (["--image-size", "32"], 32, []),
    "augment": (["--augment", "standard"], "standard", []),
    "download": (["--download"], True, []),
    "protocol": (["--protocol", "public"], "public", []),
    "epochs": (["--epochs", "3"], 3, []),
    "batch_size": (["--batch-size", "32"], 32, []),
    "eval_batch_size": (["--eval-batch-size", "7"], 7, []),
    "accumulate": (["--accumulate", "2"], 2, []),
    "optimizer": (["--optimizer", "sgd"], "sgd", []),
    "lr": (["--lr", "1e-4"], 1e-4, []),
    "betas": (["--betas", "0.8", "0.99"], [0.8, 0.99], []),
    "rho": (["--rho", "0.5"], 0.5, ["--optimizer", "rmsprop"]),
    "momentum": (["--momentum", "0.9"], 0.9, ["--optimizer", "sgd"]),
    "nesterov": (["--nesterov"], True, ["--optimizer", "sgd", "--momentum", "0.9"]),
    "weight_decay": (["--weight-decay", "0.1"], 0.1, []),
    "keras_compat": (["--keras-compat"], True, []),
    "lr_schedule": (["--lr-schedule", "cosine"], "cosine", []),
    "lr_patience": (["--lr-patience", "0"], 0, []),
    "lr_factor": (["--lr-factor", "0.5"], 0.5, []),
    "lr_min": (["--lr-min", "1e-5"], 1e-5, []),
    "lr_milestones": (["--lr-milestones", "0.1", "0.9"], [0.1, 0.9], ["--lr-schedule", "multistep"]),
    "lr_warmup": (["--lr-warmup", "0.1"], 0.1, []),
    "lr_time_decay": (["--lr-time-decay", "0"], 0.0, []),
    "early_stop": (["--early-stop", "0"], 0, []),
    "clip_norm": (["--clip-norm", "1"], 1.0, []),
    "clip_value": (["--clip-value", "1"], 1.0, []),
    "ema": (["--ema", "0.99"], 0.99, []),
    "seeds": (["--seeds", "0", "1", "2"], [0, 1, 2], []),
    "device": (["--device", "cpu"], "cpu", []),
    "precision": (["--precision", "bf16-mixed"], "bf16-mixed", []),
    "compile": (["--compile"], True, []),
    "channels_last": (["--channels-last"], True, []),
    "threads": (["--threads", "1"], 1, []),
    "out": (["--out", "elsewhere"], "elsewhere", []),
    "name": (["--name", "first"], "first", []),
    "select": (["--select", "last"], "last", []),
    "save_students": (["--save-students", "all"], "all", []),
    "knn": (["--knn", "0"], 0, []),
    "retrieval": (["--retrieval"], True, []),
    "diagnose": (["--no-diagnose"], False, []),
    "cache": (["--cache", "embedding"], "embedding", []),
    "views": (["--views", "8"], 8, ["--augment", "standard"]),
    "tensorboard": (["--no-tensorboard"], False, []),
    "results": (["--no-results"], False, []),
    "teacher": (["--teacher", "a", "b c"], ["a", "b c"], ["--methods", "kd"]),
    "teacher_mean": (["--teacher-mean", "0.5"], [0.5], []),
    "teacher_std": (["--teacher-std", "0.5"], [0.5], []),
    "teacher_epochs": (["--teacher-epochs", "2"], 2, []),
    "teacher_train_size": (["--teacher-train-size", "200"], 200, []),
    "teacher_precision": (["--teacher-precision", "bf16"], "bf16", []),
    "min_teacher_acc": (["--min-teacher-acc", "0.4"], 0.4, []),
    "student": (["--student", "resnet8"], "resnet8", []),
    "student_weights": (["--student-weights", "w.safetensors"], "w.safetensors", []),
    "tap": (["--tap", "teacher.stem=a", "teacher.stages=a;b"], {"teacher.stem": "a", "teacher.stages": "a;b"}, []),
    "methods": (["--methods", "kd,", "pkt"], ["kd", "pkt"], []),
    "set": (
        ["--temperature", "6", "--no-t-squared", "--set", "kd.temperature=3"],
        {"temperature": 6.0, "t_squared": False, "kd.temperature": 3.0},
        [],
    ),
    "kd_supervised": (["--kd-supervised", "0.3"], 0.3, []),
    "pkt_supervised": (["--pkt-supervised", "0"], 0.0, []),
    "weight": (["--weight", "kd=1", "pkt=400"], {"kd": 1.0, "pkt": 400.0}, []),
    "sub_teachers": (["--sub-teachers", "winner"], "winner", []),
}  # fmt: skip

DROPPED = {
    "protocol": {"val_fraction", "augment"},
    "optimizer": {"betas", "keras_compat"},
    "lr_schedule": {"lr_patience", "lr_factor", "lr_min"},
}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, mentorch) -> Any:
    """``asked(word, ...)``: the recipe that the words of ``compare`` stand for, as plain data."""
    seen: list[Recipe] = []
    monkeypatch.setattr("mentorch.cli._compare.run", lambda recipe, session: seen.append(recipe))

    def parse(*words: str) -> dict[str, Any]:
        result = mentorch("compare", *words)
        assert result.code == 0, result.err
        return json.loads(json.dumps(seen.pop().to_plain()))

    return parse


def test_defaults_are_those_of_the_toolkit() -> None:
    recipe = CompareRecipe()
    assert {name: getattr(recipe, name) for name in DEFAULTS} == DEFAULTS


def test_every_option_is_tried_below() -> None:
    assert set(CHANGES) == set(CompareRecipe.model_fields) - {"command"}


@pytest.mark.parametrize("name", CHANGES)
def test_an_option_changes_its_field_and_no_other(name: str, asked) -> None:
    words, value, beside = CHANGES[name]
    before, after = asked(*beside), asked(*beside, *words)
    assert after[name] == value != before.get(name)
    defaults = CompareRecipe().model_dump(mode="json")
    assert {key for key in after if after[key] != before.get(key, defaults[key])} == {name}
    # fields without effect are not written; a choice may do that to others
    dropped = {key for key in before if key not in after}
    assert dropped <= DROPPED.get(name, set())


def test_the_example_of_the_toolkit_is_the_translated_run(asked) -> None:
    line = (
        "teacher/ student/ cifar10 --methods kd, pkt, kd+pkt --name sl_strong --temperature 6 --kd-supervised 0.3 "
        "--weight kd=1 --lr 1e-4 --optimizer adam --epochs 150 --lr-factor 0.5 --lr-min 1e-8 --early-stop 0 "
        "--sub-teachers mean --out runs/cifar10/baseline"
    )
    recipe = asked(*line.split())
    expected = {
        "teacher": ["teacher/"],
        "student": "student/",
        "data": "cifar10",
        "methods": ["kd", "pkt", "kd+pkt"],
        "name": "sl_strong",
        "set": {"temperature": 6.0},
        "kd_supervised": 0.3,
        "weight": {"kd": 1.0},
        "lr": 1e-4,
        "optimizer": "adam",
        "epochs": 150,
        "lr_factor": 0.5,
        "lr_min": 1e-8,
        "early_stop": 0,
        "sub_teachers": "mean",
        "out": "runs/cifar10/baseline",
    }
    assert {key: recipe[key] for key in expected} == expected
    rest = json.loads(json.dumps(CompareRecipe().to_plain()))
    assert {key: value for key, value in recipe.items() if key not in expected} == {
        key: value for key, value in rest.items() if key not in expected
    }
    assert asked(*line.replace(",", "").split()) == recipe


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"rho": 0.5}, "rho has no effect with optimizer adam (only rmsprop, adadelta)"),
        ({"momentum": 0.9}, "momentum has no effect with optimizer adam"),
        ({"nesterov": True}, "nesterov has no effect with optimizer adam"),
        ({"betas": (0.5, 0.5), "optimizer": "sgd"}, "betas has no effect with optimizer sgd"),
        ({"keras_compat": True, "optimizer": "sgd"}, "keras_compat has no effect with optimizer sgd"),
        ({"nesterov": True, "optimizer": "sgd"}, "nesterov needs a momentum"),
        ({"lr_patience": 2, "lr_schedule": "constant"}, "lr_patience has no effect with lr_schedule constant"),
        ({"lr_factor": 0.2, "lr_schedule": "cosine"}, "lr_factor has no effect with lr_schedule cosine"),
        ({"lr_min": 0.2, "lr_schedule": "multistep"}, "lr_min has no effect with lr_schedule multistep"),
        ({"lr_milestones": (0.2,)}, "lr_milestones has no effect with lr_schedule plateau"),
        ({"protocol": "public", "val_fraction": 0.2}, "val_fraction has no effect with protocol public"),
        ({"protocol": "public", "augment": "standard"}, "augment has no effect with protocol public"),
        ({"clip_norm": 1, "clip_value": 1}, "clip_norm and clip_value exclude each other"),
        ({"momentum": 1, "optimizer": "sgd"}, "momentum: Input should be less than 1"),
        ({"weight": "kd=-2"}, "weight.kd: Input should be greater than or equal to 0, got '-2'"),
        ({"weight": "kd"}, "weight: 'kd' is not written KEY=VALUE"),
        ({"seeds": "0,1,0"}, "seeds: name at least one, and none twice"),
        ({"seeds": ","}, "seeds: name at least one"),
    ],
)
def test_a_choice_without_effect_or_sense_is_refused(values: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UsageError) as error:
        check(CompareRecipe, values)
    assert complaint in str(error.value)


LIMITS = {
    **dict.fromkeys(
        ("epochs", "batch_size", "eval_batch_size", "accumulate", "threads", "train_size", "teacher_epochs"),
        (0, -3, 1.5),
    ),
    **dict.fromkeys(("lr", "clip_norm", "clip_value"), (0, -1, "nan", "inf", "much")),
    **dict.fromkeys(("weight_decay", "lr_min", "lr_time_decay", "kd_supervised", "min_teacher_acc"), (-0.1, "nan")),
    **dict.fromkeys(("lr_factor", "ema"), (0, 1, 2, -1)),
    **dict.fromkeys(("split_seed", "seeds"), (-1, "a", 2**63)),
    **dict.fromkeys(("knn", "early_stop", "lr_patience"), (-1, "a")),
    "betas": ("0.9", "0.9,1", "0.9,0.9,0.9"),
    "lr_warmup": (-0.1, 1.1),
    "val_fraction": (0, -0.5, 1, 30),
    "optimizer": ("adamm", 3),
    "select": ("worst",),
    "augment": ("strong",),
    "precision": ("16",),
    "teacher_precision": ("16",),
    "tensorboard": ("perhaps",),
    "teacher_mean": ("a,b",),
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in LIMITS.items() for value in values])
def test_an_impossible_value_is_refused_in_one_line(name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=rf"^{name}[.:\d]") as error:
        check(CompareRecipe, {name: value})
    assert "\n" not in str(error.value)
    assert str(value).split(",")[-1] in str(error.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [("epochs", True), ("lr", True), ("ema", False), ("seeds", [1, True]), ("weight", {"kd": True}), ("threads", True)],
)
def test_a_truth_value_is_no_number(name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"^{name}: it is a number, not a truth value"):
        check(CompareRecipe, {name: value})


def test_a_word_that_yaml_takes_for_a_truth_value_is_still_a_word() -> None:
    assert check(CompareRecipe, {"cache": False}) == check(CompareRecipe, {"cache": "off"})
    with pytest.raises(UsageError, match=r"^augment: Input should be 'none' or 'standard', got 'on'"):
        check(CompareRecipe, {"augment": True})


def test_a_misspelled_option_names_its_neighbour() -> None:
    with pytest.raises(UsageError, match="unknown option 'optimiser': did you mean 'optimizer'"):
        check(TrainRecipe, {"optimiser": "sgd"})
    with pytest.raises(UsageError, match=r"^unknown option 'zzz'$"):
        check(TrainRecipe, {"zzz": 1})


positive = st.floats(1e-9, 1e3)
shared = st.fixed_dictionaries(
    {},
    optional={
        "data": st.sampled_from(["digits", "folder:a b", "mnist"]),
        "train_size": st.none() | st.integers(1, 10**6),
        "epochs": st.integers(1, 10**4),
        "lr": positive,
        "optimizer": st.sampled_from(OPTIMIZERS),
        "lr_schedule": st.sampled_from(["plateau", "constant", "cosine", "multistep"]),
        "protocol": st.sampled_from(["modern", "public"]),
        "clip_norm": st.none() | positive,
        "ema": st.none() | st.floats(0.01, 0.99),
        "seeds": st.lists(st.integers(0, 2**40), min_size=1, max_size=4, unique=True),
        "name": st.none() | st.text(st.characters(exclude_categories=("C",)), min_size=1, max_size=9),
        "tensorboard": st.booleans(),
    },
)
of_compare = st.fixed_dictionaries(
    {},
    optional={
        "methods": st.lists(st.sampled_from(["scratch", "kd", "pkt", "kd+pkt", "dkd"]), min_size=1, max_size=3),
        "weight": st.dictionaries(st.sampled_from(["kd", "pkt"]), positive),
        "tap": st.dictionaries(st.sampled_from(["student.embedding"]), st.text("ab;:.", min_size=1)),
        "student": st.sampled_from(["cnn_tiny", "zoo/a b", "resnet8:w.pt"]),
    },
)


@given(shared, of_compare)
def test_a_recipe_comes_back_from_plain_data_and_from_its_file(tmp_path_factory, first, second) -> None:
    from mentorch.cli._yaml import read_recipe, write_recipe

    path = tmp_path_factory.getbasetemp() / "round" / "recipe.yaml"
    for kind, values in ((TrainRecipe, first), (CompareRecipe, {**first, **second})):
        recipe = check(kind, values)
        assert kind.model_validate(json.loads(json.dumps(recipe.to_plain()))) == recipe
        write_recipe(path, recipe)
        before = path.read_bytes()
        assert read_recipe(path) == recipe
        write_recipe(path, read_recipe(path))
        assert path.read_bytes() == before


def test_every_field_says_what_it_is_for() -> None:
    for kind in RECIPES.values():
        for name, field in kind.model_fields.items():
            assert name in ("command", "nodes", "edges", "preset") or field.description, name
