from mentorch.reports import table
from mentorch.reports._study import Study
from mentorch.reports._table import costs, measures, networks, together

BEST, LAST = "test accuracy %, best epoch", "test accuracy %, last epoch"


def rows(fake, **values):
    return [fake.row(name, seed, value) for name, found in values.items() for seed, value in enumerate(found)]


def test_teacher_first_then_the_methods_in_their_order(fake):
    found = table(fake.results(rows(fake, scratch=[0.80, 0.82, 0.81], kd=[0.85, 0.86, 0.87])))
    assert [row["method"] for row in found] == ["teacher (resnet56)", "scratch", "kd"]
    assert {tuple(row) for row in found} == {tuple(found[0])}
    assert (found[0][BEST], found[0]["parameters"]) == ("94.3", "855,770")
    # 4.303 * 0.01 / sqrt(3) = 0.0248
    assert (found[2][BEST], found[2][LAST]) == ("86.0 ± 2.5", "85.8 ± 2.5")
    assert found[2]["points over scratch"] == "5.0 ± 2.5"
    assert (found[2]["compression"], found[2]["trained samples"], found[2]["time"]) == ("11x", "12,000", "1 min 3 s")


def test_one_seed_has_no_interval(fake):
    found = table(fake.results(rows(fake, scratch=[0.8], kd=[0.85])))
    assert found[2][BEST] == "85.0"
    assert found[2]["points over scratch"] == "5.0"


def test_empty_columns_are_left_out(fake):
    found = table(fake.results([{"method": "train", "test": {"last": {"accuracy": 0.5}}}], teacher=None, student=None))
    assert found == [{"method": "train", "seeds": "1", LAST: "50.0"}]
    assert table({"rows": []}) == []


def test_failed_and_partly_failed_methods(fake):
    results = fake.results(rows(fake, kd=[0.8, 0.9]))
    results["rows"] += [{"method": "kd", "seed": 2, "error": "NaN"}, {"method": "dkd", "seed": 0, "error": "NaN"}]
    _, kd, dkd = table(results)
    assert (kd["seeds"], dkd["seeds"], dkd[BEST]) == ("2 of 3", "0 of 1", "failed")


def test_an_untrained_classifier_is_marked_and_not_compared(fake):
    found = table(fake.results(rows(fake, scratch=[0.8, 0.9], pkt=[0.1, 0.1])))
    assert found[2]["method"] == "pkt †"
    assert "points over scratch" not in found[2]
    assert found[2]["kNN accuracy %"] == "9.0 ± 0.0"


def test_other_measures_include_ones_nobody_foresaw(fake):
    results = fake.results(rows(fake, kd=[0.8]))
    results["rows"][0]["test"]["best"]["mean_rank"] = 3.5
    teacher, kd = measures(Study(results))
    assert (teacher["top-5 %"], kd["cross-entropy"], kd["mean rank"]) == ("100.0", "0.200", "3.500")
    assert measures(Study(fake.results([{"method": "kd"}], teacher=None))) == []


def test_networks_have_both_ratios(fake):
    found = {row["network"]: row for row in networks(fake.results([]))}
    assert found["teacher / student"] == {
        "network": "teacher / student",
        "parameters": "11x",
        "MACs per image": "9.92x",
    }
    assert found["student / teacher"]["parameters"] == "0.0912x"


def test_costs_are_means_per_seed_and_the_sum_of_time(fake):
    (found,) = costs(Study(fake.results(rows(fake, kd=[0.8, 0.9]))))
    assert (found["time per seed"], found["time in all"]) == ("1 min 2 s", "2 min 5 s")
    assert (found["epochs"], found["best epoch"], found["training MACs"]) == ("10", "9", "1.2 T")


def test_runs_together_share_their_columns(fake):
    one = Study(fake.results(rows(fake, scratch=[0.8])))
    two = Study(fake.results([{"method": "x", "seconds": 3.0}], name="other", teacher=None, student=None))
    found = together([one, two])
    assert [row["run"] for row in found] == ["digits-demo", "digits-demo", "other"]
    assert len({tuple(row) for row in found}) == 1


def test_runs_of_any_kind_name_their_rows_together(fake):
    row = {"method": "branch", "seed": 0, "test": {"last": {"depth rmse": 1.0}}}
    dense = {"name": "dense", "kind": "branch", "select": "last", "rows": [row], "dense_teachers": {"depth": {}}}
    found = together([Study(fake.results(rows(fake, scratch=[0.8]))), Study(dense)])
    assert [each["method"] for each in found][-1] == "branch"
