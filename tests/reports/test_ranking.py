import json
from pathlib import Path

import pytest

from mentorch._errors import RunError
from mentorch.reports import ranking_sentence, ranking_table, write
from mentorch.reports._ranking import is_ranking

ROW = {"name": "a", "network": "resnet8", "scores": {"logme": 0.25, "leep": None}, "parameters": 77_000, "macs": 3e6}
RESULTS = {
    "schema": "mentorch.ranking/1",
    "name": "r",
    "scores": ["logme", "leep"],
    "samples": 50,
    "classes": 5,
    "data": {"name": "birds <b>", "classes": 5, "note": "half of it"},
    "warnings": ["the order of 2 networks is weak"],
    "agreement": {"logme": {"logme": 1.0, "leep": None}, "leep": {"logme": None, "leep": 1.0}},
    "null": 0.5,
    "rows": [
        {**ROW, "seconds": 1.26, "own": 0.5, "dataset": "ImageNet", "warnings": ["leep: says nothing"], "failure": ""},
        {**ROW, "name": "b", "scores": {"logme": -0.5, "leep": 0.1}, "failure": ""},
        {"name": "<i>bad</i>", "failure": "no card"},
    ],
}


def run(folder: Path, results: object = RESULTS) -> Path:
    (folder / "results.json").write_text(json.dumps(results))
    return folder


def test_the_table_has_a_row_for_each_network_with_a_number() -> None:
    first, second = ranking_table(RESULTS)
    assert list(first.values()) == ["a", "resnet8", "0.250", "\u2013", "50.0 %", "77 k", "3 M", "1.3", "ImageNet"]
    assert second["logme"] == "\u22120.500"
    assert "Of 2 networks a promises most: logme 0.250, from 50 images of 5 classes" in ranking_sentence(RESULTS)
    assert "No network could be ranked" in ranking_sentence(RESULTS | {"rows": []})


def test_the_page_tells_everything_and_nothing_in_it_is_markup(tmp_path: Path) -> None:
    assert is_ranking(run(tmp_path))
    page = write(tmp_path).read_text(encoding="utf-8")
    for text in ("&lt;i&gt;bad&lt;/i&gt;: no card", "birds &lt;b&gt;", "is weak", "leep: says nothing", "half of it"):
        assert text in page, text
    assert "<i>" not in page
    assert "5\u00a0% reach 0.50" in page
    again = write(tmp_path).read_text(encoding="utf-8")
    assert page == again


def test_odd_files_are_errors_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"results\.json is damaged: 'rows'"):
        write(run(tmp_path, RESULTS | {"rows": [3]}))
    assert not is_ranking(run(tmp_path, []))
    assert not is_ranking(tmp_path / "gone")
    sparse = {"schema": "mentorch.ranking/1", "rows": []}
    assert "No network could be ranked" in write(run(tmp_path, sparse)).read_text(encoding="utf-8")
