import json
import math

import pytest

from mentorch.transferability import Ranking, Row, null_band, weighted_tau


def ranking(count=10, other=None, **facts):
    other = other or list(range(count))
    rows = [Row(f"n{i}", f"zoo/n{i}", scores={"a": -float(i), "b": float(other[i])}, **facts) for i in range(count)]
    return Ranking(tuple(rows), ("a", "b"), 50, 5)


def test_agreement_is_the_weighted_tau_of_columns():
    mixed = [3, 1, 4, 0, 5, 9, 2, 6, 8, 7]
    found = ranking(other=mixed).agreement
    assert found["a"]["b"] == pytest.approx(weighted_tau([-i for i in range(10)], mixed))
    assert found["a"]["a"] == pytest.approx(1)
    assert set(found) == {"a", "b"}  # priors that nobody knows have no column


def test_scores_that_agree_no_more_than_chance_are_told():
    high = null_band(10).high
    assert any(
        f"a and b agree no more than chance may: weighted tau -1.00, of {high:.2f}" == t for t in ranking().warnings
    )
    assert not any("agree no more" in t for t in ranking(other=[-i for i in range(10)]).warnings)


def test_a_score_that_orders_like_a_prior_is_told():
    rows = [Row(f"n{i}", "", scores={"a": -float(i)}, parameters=100 - i, own=0.5 + i / 100) for i in range(10)]
    told = Ranking(tuple(rows), ("a",), 50, 5).warnings
    assert any("as their parameters alone does: weighted tau 1.00" in text for text in told)
    assert not any("own accuracy alone" in text for text in told)


def test_few_networks_are_told():
    assert any("the order of 5 networks is weak" in text for text in ranking(5).warnings)
    assert ranking(2).warnings == ("2 networks with a score are no ranking",)
    assert not any("is weak" in text for text in ranking(10).warnings)


def test_networks_without_a_number_are_no_part_of_it():
    rows = (*ranking(4).rows, Row("nan", "", scores={"a": math.nan, "b": 9.0}), Row("bad", "", failure="no card"))
    found = Ranking(rows, ("a", "b"), 50, 5)
    assert [row.name for row in found.ranked] == ["n0", "n1", "n2", "n3"]
    assert found.agreement == ranking(4).agreement
    assert "1 of 6 networks cannot be ranked" in found.warnings
    plain = json.loads(json.dumps(found.to_plain(), allow_nan=False))
    assert plain["rows"][4]["scores"] == {"a": None, "b": 9.0}
    assert plain["rows"][5]["failure"] == "no card"
    assert plain["null"] == null_band(4).high
    assert plain["agreement"]["a"]["b"] == found.agreement["a"]["b"]
