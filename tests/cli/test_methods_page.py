import re

import pytest

from mentorch import losses
from mentorch.cli._notation import IN_PYTHON, SCRATCH, WRAPPERS, known, options_of

NAMES = sorted(losses.catalogue())


def squeezed(text: str) -> str:
    return "".join(text.split())


@pytest.mark.parametrize("columns", ["80", "120"])
@pytest.mark.parametrize("command", ["distill", "compare"])
def test_help_ends_with_every_method_and_its_paper(mentorch, monkeypatch, command: str, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    text = mentorch(command, "--help").out
    assert max(map(len, text.splitlines())) <= int(columns)
    listed = text.partition("\nMethods (")[2]
    entries = re.split(r"\n  (?=\S)", listed)[1:]
    assert [entry.split()[0] for entry in entries] == [n for n in known() if n != SCRATCH] + [
        f"{name}-LOSS" for name in WRAPPERS
    ]
    for entry in entries:
        assert re.search(r"\(.*(19|20)\d\d\)$|\(.*arXiv [\d.]+\)$", " ".join(entry.split())), entry
    for name, info in losses.catalogue().items():
        if name in known():
            assert squeezed(f"{name} {info.summary}") in squeezed(listed)


@pytest.mark.parametrize("name", NAMES)
def test_a_loss_shows_everything_that_can_be_chosen(mentorch, name: str) -> None:
    result = mentorch("methods", name)
    assert result.code == 0
    info, text = losses.catalogue()[name], squeezed(result.out)
    for fact in (
        info.summary,
        info.paper,
        f"{info.weight:g}, as published",
        f"mentorch.losses.{info.function.__name__}",
    ):
        assert squeezed(fact) in text
    for option in options_of(name).values():
        assert squeezed(f"{option.name} {option.doc.rstrip('.')}") in text
    assert ("by name" in result.out) == (name in IN_PYTHON)
    assert ("labels" in result.out.partition("reads")[2].splitlines()[0]) == (info.labels or not info.teacher)


@pytest.mark.parametrize("name", [name for name in NAMES if name in known() and options_of(name)])
def test_what_a_page_says_can_be_written_can_be_written(mentorch, monkeypatch, name: str) -> None:
    monkeypatch.setattr("mentorch.cli._compare.run", lambda recipe, session: None)
    title = " ".join(mentorch("methods", name).out.partition("Options, ")[2].partition(":\n")[0].split())
    found = re.fullmatch(r"written (\S+) in a method, (--\S+(?: \S+)?), or (--set \S+)", title)
    assert found, title
    for words in (["--method", found[1]], ["--method", name, *found[2].split()], ["--method", name, *found[3].split()]):
        result = mentorch("distill", *words)
        assert result.code == 0, result.err


def test_what_the_command_line_does_differently_is_said(mentorch) -> None:
    text = mentorch("methods", "kd").out
    assert "0.9, as published, beside 0.1 on the labels; 1 on the command line" in " ".join(text.split())
    assert "default: 4; 2 on the command line" in " ".join(text.split())


def test_a_switch_says_how_it_is_written(mentorch) -> None:
    assert "[--t-squared or --no-t-squared; default: true]" in " ".join(mentorch("methods", "kd").out.split())


def test_a_wrapper_says_what_it_goes_around(mentorch) -> None:
    assert "standardized-dist, standardized-dkd, standardized-kd" in mentorch("methods", "standardized").out
    assert "where_correct-dkd, where_correct-kd" in mentorch("methods", "where_correct").out


def test_an_unknown_loss_names_its_neighbour(mentorch) -> None:
    result = mentorch("methods", "dkdd")
    assert result.code == 2
    assert "unknown loss 'dkdd': did you mean 'dkd'" in result.error
