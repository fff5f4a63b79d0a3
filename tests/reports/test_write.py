import csv
import json

import pytest

from mentorch import reports
from mentorch._errors import RunError, UsageError


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_all_files_and_the_same_bytes_twice(fake, tmp_path):
    run = fake.run(tmp_path / "run")
    before = contents(run)
    assert reports.write(run, tmp_path / "one") == tmp_path / "one/report.html"
    reports.write(run, tmp_path / "two")
    one = contents(tmp_path / "one")
    assert one == contents(tmp_path / "two")
    assert contents(run) == before
    assert {"report.html", "summary.md", "results.csv", "figures/accuracy.svg", "figures/accuracy.png"} <= set(one)
    assert "figures/graph-2-kd.svg" in one


def test_a_report_lands_in_its_run_folder(fake, tmp_path):
    assert reports.write(fake.run(tmp_path, ("kd",), seeds=1)) == tmp_path / "report.html"


def test_csv_has_one_row_per_method_and_seed(fake, tmp_path):
    folder = fake.run(tmp_path, ("scratch", "kd"), seeds=2)
    fake.edit(folder, lambda r: r["rows"].append({"method": "dkd", "seed": 0, "error": 'NaN, "x"\ny'}))
    reports.write(folder)
    rows = list(csv.DictReader((folder / "results.csv").read_text().splitlines()))
    expected = json.loads((folder / "results.json").read_text())["rows"]
    assert [(r["method"], r["seed"]) for r in rows] == [(r["method"], str(r["seed"])) for r in expected]
    assert float(rows[2]["test_best_accuracy"]) == expected[2]["test"]["best"]["accuracy"]
    assert (rows[4]["test_best_accuracy"], rows[4]["error"]) == ("", 'NaN, "x" y')


def test_summary_is_markdown_with_every_figure(fake, tmp_path):
    folder = fake.run(tmp_path, ("scratch", "a|b*"), seeds=2)
    reports.write(folder)
    text = (folder / "summary.md").read_text()
    assert "| a\\|b\\* | 2 |" in text
    figures = [line.split("](")[1].rstrip(")") for line in text.splitlines() if line.startswith("![")]
    assert figures
    assert all((folder / name).is_file() for name in figures)


def test_several_runs_on_one_page(fake, tmp_path):
    one = fake.run(tmp_path / "one", ("scratch", "kd"), seeds=2)
    two = fake.run(tmp_path / "two", ("scratch",), seeds=1, teacher=None)
    page = reports.write([one, two], tmp_path / "out").read_text()
    assert "2 runs compared" in page
    assert page.count("digits-demo (one)") > 1
    assert page.count("digits-demo (two)") > 1
    assert (tmp_path / "out/figures/2-accuracy.svg").is_file()
    lines = (tmp_path / "out/results.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines[1:]] == ["digits-demo (one)"] * 4 + ["digits-demo (two)"]


def test_wrong_requests_are_usage_errors(fake, tmp_path):
    with pytest.raises(UsageError, match="no run"):
        reports.write([])
    run = fake.run(tmp_path, ("kd",), seeds=1)
    with pytest.raises(UsageError, match="2 runs"):
        reports.write([run, run])


def test_a_damaged_run_writes_nothing(tmp_path):
    (tmp_path / "results.json").write_text("{")
    with pytest.raises(RunError):
        reports.write(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


@pytest.mark.parametrize(
    "change",
    [
        lambda r: r.update(teacher=None, student=None, data=None, summary=None),
        lambda r: r.update(rows=[]),
        lambda r: r.update(name=None, created=None, seconds=None, kind=None),
        lambda r: [row.update(test=None, validation=None) for row in r["rows"]],
        lambda r: [row["test"]["best"].update(accuracy=float("nan"), ece=None, top5="?") for row in r["rows"]],
        lambda r: [row.update(graph=None, history=None, parameters=None) for row in r["rows"]],
        lambda r: [row.update(graph="x", history=3, test=[1], seed=None, node=None) for row in r["rows"]],
        lambda r: r.update(teacher=3, student="x", data=[1], select="neither"),
        lambda r: r.update(rows=[{"method": "kd"}]),
    ],
    ids=["no teacher", "no rows", "no names", "unmeasured", "nan", "bare rows", "odd rows", "odd parts", "least"],
)
def test_missing_and_odd_entries_are_coped_with(fake, tmp_path, change):
    folder = fake.run(tmp_path, ("scratch", "kd"), seeds=2, epochs=2, looks=True)
    fake.edit(folder, change)
    assert reports.write(folder).stat().st_size > 5000


def test_twelve_methods_with_long_names(fake, tmp_path):
    methods = ("scratch", *(f"method-{'long-' * 12}{i}" for i in range(11)))
    folder = fake.run(tmp_path, methods, seeds=2, epochs=3, name="n" * 400)
    page = reports.write(folder).read_text()
    assert all(method in page for method in methods)
