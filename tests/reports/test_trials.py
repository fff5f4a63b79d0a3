import json

import pytest

from mentorch import reports
from mentorch.reports._read import read
from mentorch.reports._trials import SHOWN, drawings, told, trials


def search(n=3, **changes):
    gates = [["through", "correct"], ["cutoff", "linear_up"]]
    found = [
        {
            "number": i,
            "state": "complete" if i else "pruned",
            "value": 0.5 + i / 100,
            "seconds": 3.0,
            "opens_at": 0.5,
            "digest": f"{i:016x}",
            "candidate": {"partners": ["cnn_small"], "gates": gates, "loss": "kd", "temperature": None},
        }
        for i in range(n)
    ]
    about = {"sampler": "tpe", "pruner": "asha", "combinations": 256, "skipped": {"trained already": 2}}
    return {"schema": "mentorch.search/1", **about, "trials": found, **changes}


def test_the_best_trial_is_first_and_unfinished_ones_last():
    rows = trials(search())
    assert [row["trial"] for row in rows] == ["2", "1", "0"]
    assert list(rows[0].values()) == [
        "2", "52.00", "complete", "cnn_small", "through correct / cutoff linear_up", "kd", "50 %", "3.0 s", "00000000",
    ]  # fmt: skip
    assert len(trials(search(100))) == SHOWN


def test_how_far_it_went():
    words = told(search(30))
    assert words.startswith("30 graphs of 256 combinations were trained (sampler tpe, pruner asha): 1 pruned, 29 comp")
    assert "Not trained: 2 trained already." in words
    assert "The best 20 are shown" in words


@pytest.mark.parametrize(
    "odd", [{}, {"trials": 3}, {"trials": [{}, 3, {"candidate": [], "value": "x"}], "skipped": []}]
)
def test_odd_entries_are_coped_with(odd):
    trials(odd)
    told(odd)


def test_the_page_has_the_trials_and_the_drawings_as_images(fake, tmp_path):
    folder = fake.run(tmp_path, ("independent", "searched"), seeds=2, kind="search")
    (folder / "search.json").write_text(json.dumps(search()))
    (folder / "figures").mkdir()
    evil = '<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
    for name in ("other", "history"):
        (folder / f"figures/search-{name}.svg").write_text(evil)
    page = reports.write(folder).read_text()
    assert page.count('<img src="data:image/svg+xml;base64,') == 2
    assert "<script" not in page
    assert page.index("so far") < page.index("other</figcaption>")
    assert "through correct / cutoff linear_up" in page
    assert "points above independent" in page
    assert "cnn\\_small" in (folder / "summary.md").read_text()
    assert (folder / "figures/search-other.svg").read_text() == evil


def test_no_search_no_section_and_a_damaged_one_is_noted(fake, tmp_path):
    folder = fake.run(tmp_path, ("scratch",), seeds=1)
    assert read(folder).search == {}
    assert drawings(folder) == []
    (folder / "search.json").write_text("{")
    assert (read(folder).search, read(folder).notes) == ({}, ["search.json: damaged"])
