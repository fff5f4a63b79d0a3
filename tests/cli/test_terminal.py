import io

import pytest
from rich.console import Console

from mentorch.cli import _terminal

ROWS = [
    {"method": "scratch", "accuracy": "91.0", "a long title of a column": "1", "another one": "2", "note": "[red]"},
    {"method": "kd+pkt", "accuracy": "92.5", "a long title of a column": "3", "another one": "4", "note": ""},
]


@pytest.fixture
def shown(monkeypatch):
    """``shown(rows, title, width=...)``: what a table looks like."""

    def show(*words, width: int = 160) -> tuple[str, str]:
        out, err = io.StringIO(), io.StringIO()
        monkeypatch.setattr(_terminal, "out", Console(file=out, width=width, highlight=False))
        monkeypatch.setattr(_terminal, "err", Console(file=err, width=width, highlight=False))
        _terminal.show_table(*words)
        return out.getvalue(), err.getvalue()

    return show


def test_a_table_has_all_cells_as_they_are(shown) -> None:
    out, err = shown(ROWS, "run [1]")
    for row in ROWS:
        for value in row.values():
            assert value in out
    assert "run [1]" in out
    assert err == ""


def test_a_narrow_terminal_shows_fewer_columns_and_says_so(shown) -> None:
    out, err = shown(ROWS, "", width=40)
    assert "scratch" in out
    assert "91.0" in out
    assert max(len(line.rstrip()) for line in out.splitlines()) <= 40
    assert " ".join(err.split()).startswith("(a wider terminal also shows")


def test_no_rows_are_no_table(shown) -> None:
    assert shown([]) == ("", "")


def row(**changes) -> dict:
    measured = {"best": {"accuracy": 0.9123}, "last": {"accuracy": 0.5}}
    base = {"method": "kd", "seed": 3, "epochs": 7, "seconds": 1.25, "validation": measured, "test": measured}
    return {**base, **changes}


def test_a_row_is_one_line() -> None:
    assert _terminal.row_line(row()) == "kd, seed 3: validation 91.23%, test 91.23%  (7 epochs; 1.2 s)"
    assert "7 epochs, stopped: enough; " in _terminal.row_line(row(stopped="enough"))
    assert _terminal.row_line({"method": "kd", "seed": 3, "error": "diverged"}) == "kd, seed 3: failed: diverged"


def test_people_are_spoken_to_beside_the_result(capsys: pytest.CaptureFixture[str]) -> None:
    _terminal.say("hello [bold]you[/bold]")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "hello [bold]you[/bold]\n"
