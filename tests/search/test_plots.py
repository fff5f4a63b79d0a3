import warnings
from pathlib import Path

import pytest
from matplotlib import pyplot

from mentorch import RunError
from mentorch.search import Space, plot, search


def test_a_study_is_drawn_and_nothing_stays_open(toy, run: Path) -> None:
    search(toy(), run, space=Space(("narrow", "wide"), 2), trials=4)
    before = pyplot.get_fignums()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        files = plot(run)
    assert {file.name for file in files} >= {"search-history.svg", "search-epochs.svg", "search-timeline.svg"}
    for file in files:
        assert file.parent == run / "figures"
        assert file.read_text().lstrip().startswith("<?xml")
        assert "<svg" in file.read_text()
    assert pyplot.get_fignums() == before


def test_before_two_trials_are_complete_there_is_nothing_to_see(toy, run: Path) -> None:
    search(toy(), run, space=Space(("narrow",), 2), trials=1)
    assert plot(run) == []


def test_where_there_is_no_study_nothing_is_drawn(run: Path) -> None:
    with pytest.raises(RunError, match="there is no study of"):
        plot(run)
