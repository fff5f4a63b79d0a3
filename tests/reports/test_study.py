import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mentorch.reports._study import Study, interval


@given(st.lists(st.floats(0, 1), min_size=2, max_size=8))
def test_interval_is_that_of_scipy(values):
    found = interval(values)
    spread = stats.sem(values)
    low, high = (
        stats.t.interval(0.95, len(values) - 1, np.mean(values), spread) if spread > 0 else (np.mean(values),) * 2
    )
    np.testing.assert_allclose([found.mean, found.low, found.high], [np.mean(values), low, high], atol=1e-9)


def test_interval_of_one_value_has_no_bounds_and_of_none_is_none():
    assert (interval([0.5]).low, interval([0.5]).high, interval([0.5]).n) == (None, None, 1)
    assert interval([]) is None


def study(fake, scratch, kd, **changes):
    rows = [fake.row("scratch", s, a) for s, a in scratch.items()] + [fake.row("kd", s, a) for s, a in kd.items()]
    return Study(fake.results(rows, **changes))


def test_difference_is_paired_by_seed(fake):
    # seeds differ a lot, the method adds nearly the same to each: only pairing can see it
    told = study(fake, {0: 0.5, 1: 0.7, 2: 0.9}, {0: 0.52, 2: 0.921, 1: 0.719})
    difference = told.difference(told.groups[1])
    expected = stats.t.interval(0.95, 2, 0.02, stats.sem([0.02, 0.019, 0.021]))
    np.testing.assert_allclose([difference.low, difference.high], expected)
    assert told.difference(told.groups[0]) is None


def test_difference_without_a_common_seed_has_no_interval(fake):
    told = study(fake, {0: 0.5, 1: 0.7}, {2: 0.8, 3: 0.9})
    difference = told.difference(told.groups[1])
    assert difference.mean == pytest.approx(0.25)
    assert (difference.low, difference.n) == (None, 0)


def test_selected_epoch_falls_back_to_the_one_that_was_measured(fake):
    told = study(fake, {0: 0.5}, {0: 0.6})
    assert told.which == "best"
    for row in told.results["rows"]:
        del row["test"]["best"]
    assert Study(told.results).which == "last"
    for row in told.results["rows"]:
        del row["test"]
    assert (Study(told.results).split, Study(told.results).which) == ("validation", "best")


def test_failed_and_nan_rows_do_not_count(fake):
    told = study(fake, {0: 0.5, 1: 0.7}, {0: 0.6, 1: float("nan")})
    told.results["rows"][0] = {"method": "scratch", "node": "student", "seed": 0, "error": "NaN loss"}
    scratch, kd = Study(told.results).groups
    assert scratch.failures == [("0", "NaN loss")]
    assert told.accuracy(scratch, "best").n == told.accuracy(kd, "best").n == 1


def test_a_method_without_a_loss_on_its_output_does_not_classify(fake):
    pkt = fake.row("pkt", 0, 0.1)
    told = Study(fake.results([fake.row("scratch", 0, 0.5), pkt, fake.row("kd", 0, 0.6)]))
    assert [group.classifies for group in told.groups] == [True, False, True]
    assert told.difference(told.groups[1]) is None
    pkt["graph"]["edges"].append({"source": ["labels"], "target": "student:logits", "loss": "cross_entropy"})
    assert Study(told.results).groups[1].classifies
    pkt["graph"] = None  # nothing known is no accusation
    assert Study(told.results).groups[1].classifies


def test_several_nodes_of_a_method_are_told_apart(fake):
    rows = [fake.row("mutual", 0, 0.5) | {"node": node} for node in "ab"]
    assert [group.label for group in Study(fake.results(rows)).groups] == ["mutual · a", "mutual · b"]


def test_digits_follow_the_number_of_test_images(fake):
    assert study(fake, {0: 0.5}, {}).digits == 1
    assert study(fake, {0: 0.5}, {}, data={"test": 10_000}).digits == 2
    assert study(fake, {0: 0.5}, {}, data=None).digits == 1
