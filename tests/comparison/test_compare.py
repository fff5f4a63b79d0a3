import copy
import gc
import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mentorch import RunError, UsageError, fit, freeze, gates, losses, networks
from mentorch.comparison import Method, Neighbours, Teacher, compare, measure, outputs, training_batches
from mentorch.comparison._compare import _mistaken
from mentorch.data import Dataset, Normalize, PadCrop, Split, load
from mentorch.methods import WinnerTakesAll, distill, one_copy_each, supervise
from mentorch.networks import Taps, cnn_small, cnn_tiny
from mentorch.training import Monitor, On, TeacherCache


def student() -> nn.Module:
    return cnn_tiny(10, 1)


@pytest.fixture(scope="module")
def teacher() -> nn.Module:
    torch.manual_seed(3)
    return freeze(cnn_small(10, 1))


@pytest.fixture
def methods(teacher: nn.Module) -> dict[str, Method]:
    return {
        "scratch": Method(supervise),
        "kd": Method(lambda network: distill(network, teacher, losses.kd)),
        "pkt": Method(lambda network: distill(network, teacher, losses.pkt)),
    }


def numbers(results: dict[str, Any]) -> dict[tuple[str, int], dict[str, Any]]:
    return {
        (row["method"], row["seed"]): {
            key: value for key, value in row.items() if key not in ("seconds", "peak_memory")
        }
        for row in results["rows"]
    }


def test_rows_are_what_a_loop_by_hand_gives(digits: Dataset, methods, quick, teacher, tmp_path: Path) -> None:
    results = compare(
        student,
        methods,
        digits,
        fit=quick,
        run=tmp_path / "r",
        teacher=Teacher(teacher, "cnn_small"),
        seeds=(4,),
        knn=3,
    )
    assert [row["method"] for row in results["rows"]] == ["scratch", "kd", "pkt"]
    for row in results["rows"]:
        torch.manual_seed(4)
        network = student()
        history = quick(
            methods[row["method"]].draw(network),
            training_batches(digits.train, 64, seed=4),
            validation=[(digits.validation.images.float() / 255, digits.validation.labels)],
        )
        theirs, _ = outputs(teacher, digits.test)
        options = {"teacher_logits": theirs, "neighbours": Neighbours(digits.train, "fc:in", 3)}
        assert row["test"]["last"] == pytest.approx(measure(network, digits.test, **options), abs=1e-6)
        assert row["validation"]["last"] == pytest.approx(measure(network, digits.validation), abs=1e-6)
        network.load_state_dict(history.best_weights["student"])
        assert row["test"]["best"] == pytest.approx(measure(network, digits.test, **options), abs=1e-6)
        assert row["best_epoch"] == history.best_epoch
        assert row["validation"]["best"]["accuracy"] == history.best_value
        assert row["trained_samples"] == 200
        assert row["parameters"] == 438
    assert results["teacher"]["test"] == pytest.approx(
        measure(teacher, digits.test, neighbours=Neighbours(digits.train, "fc:in", 3))
    )
    assert results["teacher"]["validation"] == measure(teacher, digits.validation)


def test_costs_count_three_passes_of_learners_and_one_of_teachers(
    digits: Dataset, methods, quick, teacher, tmp_path: Path
) -> None:
    results = compare(student, methods, digits, fit=quick, run=tmp_path / "r", teacher=Teacher(teacher))
    own, theirs = results["student"]["macs"], results["teacher"]["macs"]
    assert own == networks.cost(student(), torch.zeros(1, 1, 8, 8)).macs
    for row in results["rows"]:
        assert row["macs"] == 200 * (3 * own + (0 if row["method"] == "scratch" else theirs))


def test_what_a_cache_answers_for_costs_nothing(digits: Dataset, methods, quick, teacher, tmp_path: Path) -> None:
    two = {"kd": methods["kd"], "again": methods["kd"]}
    fit_cached = partial(quick, cache=TeacherCache(tmp_path / "cache"))
    results = compare(student, two, digits, fit=fit_cached, run=tmp_path / "r", teacher=Teacher(teacher), views=1)
    own, theirs = results["student"]["macs"], results["teacher"]["macs"]
    assert [row["macs"] for row in results["rows"]] == [200 * 3 * own + 100 * theirs, 200 * 3 * own]


def test_a_teacher_behind_a_closed_gate_costs_nothing(digits: Dataset, quick, teacher, tmp_path: Path) -> None:
    first = Method(lambda net: distill(net, teacher, (losses.kd, gates.Between(0.0, 0.5)), labels=1.0))
    results = compare(student, {"first": first}, digits, fit=quick, run=tmp_path / "r", teacher=Teacher(teacher))
    own, theirs = results["student"]["macs"], results["teacher"]["macs"]
    assert results["rows"][0]["macs"] == 200 * 3 * own + 100 * theirs


def test_the_order_of_methods_and_seeds_changes_nothing(digits: Dataset, methods, quick, tmp_path: Path) -> None:
    one = compare(student, methods, digits, fit=quick, run=tmp_path / "one", seeds=(0, 1))
    torch.manual_seed(99)
    torch.rand(3)
    other = compare(student, dict(reversed(methods.items())), digits, fit=quick, run=tmp_path / "other", seeds=(1, 0))
    assert numbers(one) == numbers(other)
    rows = numbers(one)
    assert rows["kd", 0]["test"] != rows["kd", 1]["test"]
    assert rows["kd", 0]["test"] != rows["scratch", 0]["test"]


def test_a_finished_run_is_not_repeated_and_a_failed_one_is(digits: Dataset, methods, quick, tmp_path: Path) -> None:
    calls: list[str] = []

    def counting(graph, train, **options):
        calls.append("+".join(edge.name.rpartition(": ")[2] for edge in graph.edges))
        if len(calls) == 2:
            raise RunError("out of luck")
        return quick(graph, train, **options)

    first = compare(student, methods, digits, fit=counting, run=tmp_path / "r")
    assert first["rows"][1]["error"] == "out of luck"
    assert "test" not in first["rows"][1]
    assert {entry["method"] for entry in first["summary"]} == {"scratch", "pkt"}
    second = compare(student, methods, digits, fit=counting, run=tmp_path / "r", resume=True)
    assert len(calls) == 4
    whole = compare(student, methods, digits, fit=quick, run=tmp_path / "w")
    assert numbers(second) == numbers(whole)
    assert json.loads((tmp_path / "r" / "results.json").read_text()) == second


def test_results_are_written_after_each_row(digits: Dataset, methods, quick, tmp_path: Path) -> None:
    seen = []

    def on_row(row) -> None:
        kept = json.loads((tmp_path / "r" / "results.json").read_text())
        assert kept["rows"][-1] == row
        seen.append(len(kept["rows"]))

    compare(student, methods, digits, fit=quick, run=tmp_path / "r", on_row=on_row)
    assert seen == [1, 2, 3]


def test_an_interruption_keeps_what_was_computed(digits: Dataset, methods, quick, tmp_path: Path) -> None:
    def stop(training) -> None:
        raise KeyboardInterrupt

    def interrupted(graph, train, **options):
        if len(graph.edges) > 1 and "kd" in graph.edges[-1].name:
            options["callbacks"] = (*options["callbacks"], On("step", stop, at=[3]))
        return quick(graph, train, **options)

    with pytest.raises(KeyboardInterrupt):
        compare(student, methods, digits, fit=interrupted, run=tmp_path / "r", seeds=(0, 1))
    assert len(json.loads((tmp_path / "r" / "results.json").read_text())["rows"]) == 2
    calls = []

    def counting(graph, train, **options):
        calls.append(graph)
        return quick(graph, train, **options)

    resumed = compare(student, methods, digits, fit=counting, run=tmp_path / "r", seeds=(0, 1), resume=True)
    assert len(calls) == 4
    whole = compare(student, methods, digits, fit=quick, run=tmp_path / "w", seeds=(0, 1))
    assert numbers(resumed) == numbers(whole)


def test_checkpoints_of_finished_runs_are_cleared_and_of_failed_ones_kept(
    digits: Dataset, methods, quick, tmp_path: Path
) -> None:
    def diverging(graph, train, **options):
        def spoil(training) -> None:
            for parameter in training.graph.parameters():
                if parameter.requires_grad:
                    parameter.data.fill_(float("nan"))

        if len(graph.edges) == 1:
            options["callbacks"] = (On("step", spoil, at=[3]),)
        return quick(graph, train, **options)

    results = compare(student, methods, digits, fit=diverging, run=tmp_path / "r")
    assert "labels -> student: cross_entropy" in results["rows"][0]["error"]
    assert "error" not in results["rows"][1]
    place = tmp_path / "r" / "fits"
    assert [p.name for p in (place / "scratch" / "seed-0" / "checkpoints").iterdir()] == ["000000002"]
    assert not (place / "kd" / "seed-0" / "checkpoints").exists()


def test_weights_that_count_are_the_selected_ones(digits: Dataset, methods, quick, tmp_path: Path) -> None:
    for select in ("best", "last"):
        kept: dict[str, nn.Module] = {}

        def save(network: nn.Module, folder: Path, row: Any, kept: dict[str, nn.Module] = kept) -> None:
            kept[folder.name] = copy.deepcopy(network)

        results = compare(
            student, methods, digits, fit=quick, run=tmp_path / select, select=select, save=save, seeds=(0, 1)
        )
        assert results["select"] == select
        assert set(kept) == {f"{m}-seed-{s}" for m in methods for s in (0, 1)}
        for row in results["rows"]:
            network = kept[row["model"].removeprefix("nodes/")]
            assert measure(network, digits.test)["accuracy"] == row["test"][select]["accuracy"]


def test_teachers_keep_their_weights_and_no_hook(
    digits: Dataset, methods, quick, teacher, hooks, tmp_path: Path
) -> None:
    before = networks.state_hash(teacher)
    compare(student, methods, digits, fit=quick, run=tmp_path / "r", teacher=Teacher(teacher), seeds=(0, 1))
    gc.collect()
    assert networks.state_hash(teacher) == before
    assert hooks(teacher) == 0


def test_winner_takes_all_is_one_of_the_copies(digits: Dataset, quick, teacher, tmp_path: Path) -> None:
    torch.manual_seed(8)
    others = {"a": teacher, "b": cnn_small(10, 1)}
    method = Method(
        lambda network: one_copy_each(network, others), node="*", callbacks=lambda: (WinnerTakesAll().callback,)
    )
    results = compare(
        student, {"kd": method}, digits, fit=partial(quick, monitor=Monitor(node="*")), run=tmp_path / "r"
    )
    (row,) = results["rows"]
    assert row["parameters"] == 438
    assert row["macs"] > 2 * 3 * 200 * results["student"]["macs"]
    assert {node["name"] for node in row["graph"]["nodes"]} == {"a", "b", "student_a", "student_b"}
    record = json.loads((tmp_path / "r" / row["history"]).read_text().splitlines()[row["best_epoch"] - 1])
    best = max(scores["accuracy"] for scores in record["validation"].values())
    assert row["validation"]["best"]["accuracy"] == best


def test_normalisation_is_a_view_of_each(digits: Dataset, quick, teacher, tmp_path: Path) -> None:
    view, other = Normalize(digits.mean, digits.std), Normalize((0.5,), (2.0,))
    methods = {
        "kd": Method(lambda n: distill(n, teacher, losses.kd, views={"student": view, "teacher": other})),
    }
    results = compare(
        student, methods, digits, fit=quick, run=tmp_path / "r", view=view, teacher=Teacher(teacher, view=other)
    )
    assert results["teacher"]["test"]["accuracy"] == measure(teacher, digits.test, view=other)["accuracy"]
    assert results["teacher"]["test"]["cross_entropy"] != measure(teacher, digits.test)["cross_entropy"]


def test_features_are_where_they_are_said_to_be(digits: Dataset, quick, tmp_path: Path) -> None:
    def foreign() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 10))

    methods = {"scratch": Method(supervise)}
    plain = compare(foreign, methods, digits, fit=quick, run=tmp_path / "a")
    assert "knn" not in plain["rows"][0]["test"]["best"]
    told = compare(foreign, methods, digits, fit=quick, run=tmp_path / "b", places=Taps("", (), "3:in"))
    assert 0 < told["rows"][0]["test"]["best"]["knn"] <= 1
    off = compare(student, methods, digits, fit=quick, run=tmp_path / "c", knn=0)
    assert "knn" not in off["rows"][0]["test"]["best"]
    many = compare(student, methods, digits, fit=quick, run=tmp_path / "d", knn=10**6)
    assert 0 <= many["rows"][0]["test"]["best"]["knn"] <= 1


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"methods": {}}, "at least one method"),
        ({"seeds": ()}, "one seed"),
        ({"seeds": (1, 2, 1)}, "a seed is given twice"),
        ({"batch_size": 101}, r"batch size 101 is larger than the training split \(100 images\)"),
    ],
)
def test_what_makes_no_sense_is_refused(
    digits: Dataset, quick, tmp_path: Path, options: dict[str, Any], complaint: str
) -> None:
    asked = {"methods": {"scratch": Method(supervise)}, **options}
    with pytest.raises(UsageError, match=complaint):
        compare(student, asked.pop("methods"), digits, fit=quick, run=tmp_path / "r", **asked)


def test_a_folder_with_results_is_not_overwritten(digits: Dataset, quick, tmp_path: Path) -> None:
    methods = {"scratch": Method(supervise)}
    compare(student, methods, digits, fit=quick, run=tmp_path / "r")
    before = (tmp_path / "r" / "results.json").read_bytes()
    with pytest.raises(UsageError, match="already holds results"):
        compare(student, methods, digits, fit=quick, run=tmp_path / "r")
    assert (tmp_path / "r" / "results.json").read_bytes() == before


def test_results_of_other_data_are_not_gone_on_with(digits: Dataset, quick, tmp_path: Path) -> None:
    methods = {"scratch": Method(supervise)}
    compare(student, methods, digits, fit=quick, run=tmp_path / "r")
    with pytest.raises(UsageError, match="other data"):
        compare(student, methods, load("digits", train_size=90), fit=quick, run=tmp_path / "r", resume=True)


def test_a_usage_error_in_a_method_is_not_a_failed_row(digits: Dataset, quick, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least one loss"):
        compare(
            student,
            {"bad": Method(lambda network: distill(network, cnn_small(10, 1)))},
            digits,
            fit=quick,
            run=tmp_path / "r",
        )


def test_a_folder_that_cannot_be_written_stops_everything(digits: Dataset, quick, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot write"):
        compare(student, {"scratch": Method(supervise)}, digits, fit=quick, run=tmp_path / "file" / "r")


@pytest.mark.parametrize(
    ("count", "batch", "sizes"), [(9, 4, [4, 4]), (8, 4, [4, 4]), (7, 4, [4, 3]), (3, 1, [1, 1, 1])]
)
def test_no_batch_is_a_single_sample_unless_all_are(digits: Dataset, count: int, batch: int, sizes: list[int]) -> None:
    split = digits.train.select(torch.arange(count))
    batches = training_batches(split, batch, seed=1)
    assert [len(labels) for _, labels, _ in batches] == sizes
    assert [len(labels) for _, labels, _ in batches.iterate(1)] == sizes


def test_batches_depend_on_the_seed_and_the_epoch(digits: Dataset) -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return [
            i for batch in training_batches(digits.train, 32, seed=seed).iterate(epoch) for i in batch.index.tolist()
        ]

    assert order(0, 0) == order(0, 0)
    assert order(0, 0) != order(1, 0)
    assert order(0, 0) != order(0, 1)


def test_one_image_alone_is_too_few_for_two(digits: Dataset) -> None:
    one: Split = digits.train.select(torch.arange(1))
    with pytest.raises(UsageError, match="larger than the training split"):
        training_batches(one, 2)


def test_the_first_seed_decides_the_initial_weights_not_the_global_stream(
    digits: Dataset, quick, tmp_path: Path
) -> None:
    made: list[nn.Module] = []

    def watched() -> nn.Module:
        made.append(student())
        return made[-1]

    compare(
        watched, {"a": Method(supervise), "b": Method(supervise)}, digits, fit=untrained, run=tmp_path / "r", seeds=(7,)
    )
    torch.manual_seed(7)
    expected = dict(student().named_parameters())
    assert len(made) == 3
    assert all(torch.equal(value, expected[name]) for net in made for name, value in net.named_parameters())


def untrained(graph, train, **options):
    """A fit that keeps its weights."""
    return fit(
        graph,
        train,
        epochs=1,
        optimizer=partial(torch.optim.SGD, lr=0.0),
        tensorboard=False,
        device="cpu",
        **{**options, "callbacks": ()},
    )


def test_the_teacher_is_judged_on_what_students_see(digits: Dataset, teacher, methods, quick, tmp_path: Path) -> None:
    augment = PadCrop(2)
    known = Teacher(teacher, view=Normalize(digits.mean, digits.std))
    results = compare(
        student, methods, digits, fit=quick, run=tmp_path, teacher=known, augment=augment, seeds=[3], batch_size=16
    )
    batches, seen, right = training_batches(digits.train, 16, augment=augment, seed=3), 0, 0
    for batch in batches:
        logits = teacher(Normalize(digits.mean, digits.std)(batch.inputs))
        right, seen = right + int((logits.argmax(1) == batch.labels).sum()), seen + len(batch.labels)
    views = results["teacher"]["views"]
    assert (views["images"], views["accuracy"]) == (seen, pytest.approx(right / seen))
    assert 0 < views["entropy"] < math.log(10)


@pytest.mark.parametrize(
    ("seen", "known", "warns"), [(0.1, 0.1, True), (0.14, 0.9, True), (0.4, 0.9, True), (0.6, 0.9, False)]
)
def test_a_teacher_near_chance_is_named(seen: float, known: float, warns: bool) -> None:
    why = _mistaken({"views": {"accuracy": seen}, "validation": {"accuracy": known}}, 10)
    assert bool(why) == warns
    assert _mistaken(None, 10) == ""
    if warns:
        assert f"{seen:.1%}" in why
        assert "normalisation" in why
