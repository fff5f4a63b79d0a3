import pytest

from mentorch import losses
from mentorch.cli._notation import SCRATCH, known

from .conftest import call


@pytest.mark.parametrize("command", ["compare", "distill"])
def test_help_ends_with_every_method_and_its_paper(command: str) -> None:
    text = call(command, "--help").out
    options, title, listed = text.partition("Methods ('mentorch methods NAME' shows the options of one):\n")
    assert title
    assert "--resume" in options
    starts = [line.split()[0] for line in listed.splitlines() if line.startswith("  ") and line[2] != " "]
    assert set(known()) - {SCRATCH} <= set(starts)
    words = " ".join(listed.split())
    for name in set(known()) - {SCRATCH}:
        info = losses.catalogue()[name]
        assert f"{info.summary} ({info.paper.split()[0]}" in words, name


@pytest.mark.parametrize("command", ["compare", "distill"])
def test_usage_says_what_may_be_given_without_a_name(command: str) -> None:
    usage = " ".join(call(command, "--help").out.partition("\n\n")[0].split())
    assert usage.startswith(f"Usage: mentorch {command} [TEACHER [STUDENT [DATA]]] [OPTIONS]")
