from typing import Any

from mentorch.reports import tasks_table

NONE = "\u2013"
SIZE = {"parameters": 1000, "macs": 2000}


def results(**more: Any) -> dict[str, Any]:
    own = {"network": "cnn_tiny", **SIZE}
    summary = [
        {"method": "kd", "metric": f"accuracy, {key}", "which": "last", "mean": mean, "low": mean - 0.01}
        for key, mean in (("joint", 0.5), ("task", 0.7), ("birds", 0.6), ("dogs", 0.8))
    ]
    return {
        "select": "last",
        "student": own,
        "teachers": {
            "birds": {**own, "test": {"accuracy": 0.625, "images": 8}},
            "dogs": {**own, "parameters": 3000, "test": {"accuracy": None, "images": 0}},
        },
        "ensemble": {"parameters": 4000, "macs": 4000, "test": {"accuracy, joint": 0.25, "accuracy, task": 0.5}},
        "rows": [{"method": "kd", "seed": 0}, {"method": "kd", "seed": 1}],
        "summary": [*summary, {**summary[0], "which": "best", "mean": 0.9}],
        **more,
    }


def test_every_baseline_has_a_line_with_its_cost():
    teacher, other, together, kd = tasks_table(results())
    assert teacher == {
        "who": "birds (cnn_tiny)",
        **dict.fromkeys(("joint", "task", "dogs"), NONE),
        "birds": "62.5",
        "parameters": "1,000",
        "multiply-adds": "2,000",
    }
    assert (other["dogs"], other["parameters"]) == (NONE, "3,000")  # nobody asked it anything
    assert (together["who"], together["joint"], together["task"]) == ("all teachers", "25.0", "50.0")
    assert (kd["joint"], kd["birds"], kd["parameters"]) == ("50.0 ± 1.0", "60.0 ± 1.0", "1,000")


def test_a_method_with_a_network_of_its_own_has_its_own_size():
    rows = [{"method": "kd", "seed": 0}, {"method": "recombine", "seed": 0, "size": {"parameters": 7, "macs": 9}}]
    *_, kd, recombined = tasks_table(results(rows=rows))
    assert (kd["parameters"], kd["multiply-adds"]) == ("1,000", "2,000")
    assert (recombined["parameters"], recombined["multiply-adds"]) == ("7", "9")
    assert recombined["joint"] == NONE


def test_other_results_have_no_such_table():
    assert tasks_table({"rows": []}) == []
