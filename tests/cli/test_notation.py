import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mentorch import UsageError, losses
from mentorch.cli import _compare, _notation
from mentorch.cli._notation import IN_PYTHON, SCRATCH, WRAPPERS, Part, check_settings, known, options_of, parse
from mentorch.cli._recipe import check
from mentorch.cli._transfer import CompareRecipe, DistillRecipe
from mentorch.losses import about, dkd, kd, standardized

from .conftest import call


def test_every_loss_of_the_catalogue_is_a_method_or_says_why_not() -> None:
    teaching = {name: info for name, info in losses.catalogue().items() if info.teacher}
    assert set(known()) | set(IN_PYTHON) == {"scratch", *teaching}
    assert set(IN_PYTHON) == {name for name, info in teaching.items() if not info.by_name}
    for name in known():
        assert parse(name) == (Part(name),)


def test_weights_of_wrapped_losses_are_those_that_python_gives_them() -> None:
    wrapped = {name: weight for name, weight in _notation.WEIGHTS.items() if "-" in name}
    assert wrapped == {f"standardized-{loss.__name__}": about(standardized(loss)).weight for loss in (kd, dkd)}


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("kd+pkt", (Part("kd"), Part("pkt"))),
        (" kd + pkt ", (Part("kd"), Part("pkt"))),
        ("dkd:beta=2:alpha=1e-1", (Part("dkd", options={"beta": 2.0, "alpha": 0.1}),)),
        ("standardized-kd:temperature=2:weight=9", (Part("kd", ("standardized",), {"temperature": 2.0}, 9.0),)),
        ("where_correct-standardized-kd", (Part("kd", ("where_correct", "standardized")),)),
        ("kd+standardized-kd", (Part("kd"), Part("kd", ("standardized",)))),
        ("attention:variant=paper:power=1", (Part("attention", options={"variant": "paper", "power": 1.0}),)),
        ("kd:t_squared=no", (Part("kd", options={"t_squared": False}),)),
        ("review:width=none", (Part("review", options={"width": None}),)),
        ("crd:negatives=64", (Part("crd", options={"negatives": 64}),)),
    ],
)
def test_methods_are_read(method: str, expected: tuple[Part, ...]) -> None:
    assert parse(method) == expected


@pytest.mark.parametrize(
    ("method", "complaint"),
    [
        ("kdd", "unknown method 'kdd': did you mean 'kd'"),
        ("", "unknown method ''"),
        ("kd+", "unknown method ''"),
        ("kd + pkd", "unknown method 'pkd'"),
        ("kd+kd", "name each loss once"),
        ("kd:temperature=2+kd", "name each loss once"),
        ("scratch+kd", "scratch stands alone"),
        ("pkt_supervised", "unknown method 'pkt_supervised'"),
        ("cross_entropy", "unknown method 'cross_entropy'"),
        ("scratch:weight=1", "unknown option of scratch 'weight'"),
        ("dkd:beta", "write each option once, as :OPTION=VALUE, not 'beta'"),
        ("dkd:beta=1:beta=1", "write each option once"),
        ("dkd:", "write each option once, as :OPTION=VALUE, not ''"),
        ("dkd:bet=2", "unknown option of dkd 'bet': did you mean 'beta'? (known: alpha, beta, temperature, weight)"),
        ("kd:beta=2", "beta has no effect with methods kd (only dist, dkd)"),
        ("dkd:beta=much", "dkd:beta is a number, got 'much'"),
        ("dkd:beta=", "dkd:beta is a number, got ''"),
        ("dkd:beta=inf", "dkd:beta is a number, got 'inf'"),
        ("kd:weight=-1", "kd:weight is 0 or more, got -1"),
        ("kd:weight=heavy", "kd:weight is a number, got 'heavy'"),
        ("crd:negatives=1.5", "crd:negatives is a whole number, got '1.5'"),
        ("crd:negatives=none", "crd:negatives is a whole number, got 'none'"),
        ("kd:t_squared=2", "kd:t_squared is true or false, got '2'"),
        ("fsp:pooling=mean", "unknown value of fsp:pooling 'mean'"),
        ("cat:teacher_head=fc", "unknown option of cat 'teacher_head'"),
        ("standardised-kd", "unknown wrapper 'standardised': did you mean 'standardized'"),
        ("standardized-standardized-kd", "name each wrapper once"),
        ("standardized-pkt", "standardized goes around dist, dkd, kd, mlkd, not pkt"),
        ("where_correct-dist", "where_correct goes around dkd, kd, not dist"),
        ("standardized-scratch", "not scratch"),
        ("mlkd+kd", "mlkd stands alone, as its batches hold each sample twice"),
        ("concatenated", "draw its edge in Python, see help(mentorch.losses.Concatenated)"),
        ("simkd+kd", "simkd stands alone, as its student learns the teacher's last map and nothing else"),
    ],
)
def test_a_method_that_is_none_is_refused(method: str, complaint: str) -> None:
    with pytest.raises(UsageError) as error:
        parse(method)
    assert complaint in str(error.value)


def test_the_more_particular_setting_counts() -> None:
    settings = {"temperature": 2.0, "kd.temperature": 3.0, "standardized-kd.temperature": 4.0}
    plain, wrapped, own = Part("kd"), Part("kd", ("standardized",)), Part("kd", options={"temperature": 5.0})
    assert [part.chosen(settings)["temperature"] for part in (plain, wrapped, own)] == [3.0, 4.0, 5.0]
    assert Part("dkd").chosen(settings) == {"temperature": 2.0}
    assert Part("dkd").chosen({}) == {}
    assert Part("kd").chosen({}) == {"temperature": 2.0}  # the comparison toolkit's, not the published 4
    assert Part("pkt").chosen(settings) == {}


@pytest.mark.parametrize(
    ("methods", "settings", "expected"),
    [
        (["kd", "dkd"], {"temperature": "4"}, {"temperature": 4.0}),
        (["kd", "dkd", "pkt"], {"beta": 2, "pkt.variant": "akt"}, {"beta": 2.0, "pkt.variant": "akt"}),
        (["kd", "crd"], {"kd.temperature": 4, "crd.temperature": "0.1"}, {"kd.temperature": 4, "crd.temperature": 0.1}),
        (["kd:temperature=2", "kd"], {"temperature": 8}, {"temperature": 8.0}),
    ],
)
def test_settings_get_their_type(methods: list[str], settings: dict[str, Any], expected: dict[str, Any]) -> None:
    found = check_settings(settings, _notation.parse_all(methods))
    assert found == expected
    assert {key: type(value) for key, value in found.items() if key == "temperature"} in ({}, {"temperature": float})


@pytest.mark.parametrize(
    ("methods", "settings", "complaint"),
    [
        (["kd", "pkt"], {"beta": 2}, "beta has no effect with methods kd, pkt (only dist, dkd)"),
        (["scratch"], {"beta": 2}, "beta has no effect with methods scratch (only dist, dkd)"),
        (["dkd"], {"betta": 2}, "unknown option of dkd 'betta': did you mean 'beta'"),
        (["dkd"], {"kd.temperature": 2}, "unknown loss in --set 'kd': did you mean 'dkd'"),
        (["dkd", "kd"], {"kd.beta": 2}, "beta has no effect with methods kd (only dist, dkd)"),
        (["dkd", "dist"], {"beta": 2}, "beta means several things, by default 1.0 in dist, 8.0 in dkd: say whose, as "),
        (["kd:temperature=2"], {"temperature": 2}, "temperature has no effect: the methods with kd say it"),
        (["dkd"], {"dkd.beta": [1]}, "dkd.beta is a number"),
        (["dkd"], {"beta": None}, "beta is a number, got 'None'"),
        (["pkt", "correlation"], {"pkt.variant": "bilinear"}, "unknown value of pkt.variant 'bilinear'"),
    ],
)
def test_a_setting_without_effect_or_sense_is_refused(
    methods: list[str], settings: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(UsageError) as error:
        check_settings(settings, _notation.parse_all(methods))
    assert complaint in str(error.value)


def test_lists_of_numbers_are_read_from_a_word_and_from_a_file() -> None:
    option = losses.options(losses.catalogue()["mlkd"])["temperatures"]
    for raw in ("2;4", [2, 4], (2.0, "4")):
        assert _notation.value("mlkd.temperatures", option, raw) == [2.0, 4.0]
    for raw in ("2;x", "", "2;;3", [None], "2;inf"):
        with pytest.raises(UsageError, match=r"mlkd.temperatures is numbers with ; between them"):
            _notation.value("mlkd.temperatures", option, raw)


@pytest.mark.parametrize("loss", [name for name in known() if name != SCRATCH])
def test_the_default_of_an_option_may_be_written(loss: str) -> None:
    for name, option in options_of(loss).items():
        several = isinstance(option.default, tuple)
        text = ";".join(map(str, option.default)) if several else str(option.default).lower()
        (part,) = parse(f"{loss}:{name}={text}")
        assert part.options == {name: list(option.default) if several else option.default}


# -- nothing that can be typed ends in a traceback

names = st.sampled_from([*known(), *WRAPPERS, *IN_PYTHON, "beta", "temperature", "variant", "weight", "t_squared", "x"])
values = st.sampled_from(["2", "-1", "1e-3", "nan", "true", "paper", "none", "", "2;3", "²", "1_0", "9" * 400])
glue = st.sampled_from(["+", "-", ":", "=", ".", ",", " "])
methods = st.lists(names | values | glue, max_size=7).map("".join) | st.text(max_size=12)


@given(methods)
@example("standardized-kd:weight=nan")
@example("kd:temperature=٣")
def test_any_text_is_a_method_or_a_usage_error(text: str) -> None:
    try:
        parts = parse(text)
    except UsageError:
        return
    for part in parts:
        assert part.loss in known()
        assert part.chosen({}).keys() <= options_of(part.loss).keys()


plain = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.lists(st.floats(), max_size=2)
)
keys = st.lists(names | glue, min_size=1, max_size=3).map("".join) | st.sampled_from(["dkd.beta", "kd.temperature"])


@given(st.sampled_from(["kd", "dkd", "kd+pkt", "mlkd"]) | methods, st.dictionaries(keys, plain, max_size=2))
def test_any_setting_is_a_recipe_that_comes_back_or_a_usage_error(method: str, settings: dict[str, Any]) -> None:
    try:
        recipe = check(DistillRecipe, {"method": method, "set": settings})
    except UsageError:
        return
    assert check(DistillRecipe, json.loads(json.dumps(recipe.to_plain()))) == recipe


FLAGS = (
    *("--method", "--methods", "--set", "--beta", "--temperature", "--no-t-squared", "--kd.temperature", "--beta=2"),
    *("--no-", "--", "-", "-t", "-m", "--=", "--.", "--weight", "--width", "--momentum", "--baseline", "--x=1"),
)


@given(
    command=st.sampled_from(["compare", "distill"]),
    words=st.lists(st.sampled_from(FLAGS) | values | methods, max_size=7),
)
def test_any_words_end_with_code_0_or_2(command: str, words: list[str]) -> None:
    def nothing(recipe: Any, session: Any) -> None:
        assert isinstance(recipe, CompareRecipe | DistillRecipe)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_compare, "run", nothing)
        result = call(command, *words, "--name", "never")
    assert result.code in (0, 2)
    assert "Traceback" not in result.err
    if result.code:
        assert "unexpected:" not in result.error
