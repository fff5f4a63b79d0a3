import json

import pytest

from mentorch._errors import RunError
from mentorch.reports._read import read


def test_a_whole_folder_has_no_notes(fake, tmp_path):
    run = read(fake.run(tmp_path))
    assert run.notes == []
    assert run.recipe == fake.recipe
    assert [len(epochs) for epochs in run.history(run.study.groups[0])] == [10, 10, 10]


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"schema": "mentorch.results/9", "rows": []}'])
def test_a_damaged_or_foreign_results_file_is_one_line(tmp_path, content):
    (tmp_path / "results.json").write_text(content)
    with pytest.raises(RunError, match=r"results\.json") as caught:
        read(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("rows", [None, {}, [1], [{"seed": 0}]])
def test_damaged_rows_are_one_line(fake, tmp_path, rows):
    (tmp_path / "results.json").write_text(json.dumps(fake.results(rows)))
    with pytest.raises(RunError, match="'rows' must be a list"):
        read(tmp_path)


def test_missing_results_are_named(tmp_path):
    with pytest.raises(RunError, match="does not exist"):
        read(tmp_path)


def test_missing_companions_are_noted(fake, tmp_path):
    folder = fake.run(tmp_path, ("kd",), seeds=1)
    (folder / "recipe.yaml").unlink()
    (folder / "environment.json").write_text("{")
    (folder / "fits/kd/seed-0/metrics.jsonl").unlink()
    notes = " | ".join(read(folder).notes)
    assert all(word in notes for word in ("recipe.yaml", "environment.json", "fits/kd/seed-0/metrics.jsonl"))


def test_no_history_at_all_is_noted(fake, tmp_path):
    folder = fake.run(tmp_path, ("kd",), seeds=1)
    fake.edit(folder, lambda results: results["rows"][0].pop("history"))
    assert read(folder).notes == ["kd: no history of its epochs"]
    fake.edit(folder, lambda results: results["rows"][0].update(history=None))  # a part of another's training
    assert read(folder).notes == []


def history(fake, tmp_path, text):
    folder = fake.run(tmp_path, ("kd",), seeds=1)
    (folder / "fits/kd/seed-0/metrics.jsonl").write_text(text)
    run = read(folder)
    (found,) = run.histories.values()
    return [entry["epoch"] for entry in found], run.notes


def test_a_truncated_last_line_is_ignored(fake, tmp_path):
    assert history(fake, tmp_path, '{"epoch": 1}\n{"epoch": 2}\n{"epoch": 3, "tr') == ([1, 2], [])


def test_a_damaged_line_in_between_is_noted(fake, tmp_path):
    epochs, notes = history(fake, tmp_path, '{"epoch": 1}\n{"epo\n[]\n{"epoch": 4}\n')
    assert epochs == [1, 4]
    assert len(notes) == 2
    assert "line 2" in notes[0]


def test_an_epoch_repeated_after_a_resume_counts_once(fake, tmp_path):
    assert history(fake, tmp_path, '{"epoch": 1}\n{"epoch": 2}\n{"epoch": 2}\n{"epoch": 3}\n')[0] == [1, 2, 3]


def test_a_history_outside_of_the_folder_is_refused(fake, tmp_path):
    (tmp_path / "secret.jsonl").write_text('{"epoch": 1}\n')
    folder = fake.run(tmp_path / "run", ("kd",), seeds=1)
    fake.edit(folder, lambda results: results["rows"][0].update(history="../secret.jsonl"))
    run = read(folder)
    assert run.histories == {"../secret.jsonl": []}
    assert "outside" in run.notes[0]
