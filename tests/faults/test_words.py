"""Recipes and command lines made up by a machine: checked without a traceback, with the promised exit codes."""

import contextlib
import functools
import io
import json
import os
import tempfile
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mentorch import zoo
from mentorch.cli import main
from mentorch.cli._notation import known, options_of
from mentorch.cli._recipe import Recipe
from mentorch.cli._words import flag
from mentorch.cli._yaml import RECIPES
from mentorch.data import _load
from mentorch.networks import build

CI, NIGHTLY = 150, 1800

NETWORKS = st.sampled_from(["cnn_tiny", "cnn_small", "cnn_tiny", "resnet8", "wrn_10_1", "vit_nano"])
METHODS = st.sampled_from(["scratch", "kd", "dkd:beta=2", "kd+pkt", "standardized-kd", "rkd", "hint", "at"])
GATES = st.sampled_from(["through", "cutoff", "linear_up", "correct"])
WRONG = st.sampled_from(
    ["resnet21", "nothing", "os:getcwd", "timm:", "hf:", "kd:temperature=x", "kd+kd", "a=kd", "", "-", "a.b:c"]
)
JUNK = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(
        [[], {}, [[]], {"a": {"b": 1}}, 10**40, "x" * 300, "../..", "\x00", "=", ",", ":", "[red]", "a=b,c"]
    )
)
# what a field may be where its type alone says too little
MEANT: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(("network", "student", "target", "teacher"), NETWORKS),
    **dict.fromkeys(("partners", "assistants"), st.lists(NETWORKS, min_size=1, max_size=3)),
    **dict.fromkeys(("method", "loss"), METHODS),
    "methods": st.lists(METHODS, min_size=1, max_size=3, unique=True),
    "data": st.sampled_from(["digits"] * 8 + ["mnist", "folder:nowhere", "folder:", "digit", "a+b", "nyuv2:nowhere"]),
    "device": st.sampled_from(["cpu", "auto"]),
    "threads": st.none() | st.just(1),
    "val_fraction": st.floats(0.1, 0.5),
    "weights": st.none(),
    "set": st.dictionaries(
        st.sampled_from(["temperature", "dkd.beta", "kd.temperature", "x"]), st.floats(1, 5), max_size=2
    ),
    "seeds": st.lists(st.integers(0, 2**31), min_size=1, max_size=3, unique=True),
    "gates": st.lists(GATES, min_size=1, max_size=3, unique=True),
    "storage": st.sampled_from(["s.journal", "s.db", "x", "postgresql://a@b/c", "sqlite:///nowhere/x.db"]),
    "nodes": st.dictionaries(
        st.sampled_from(["a", "b", "labels", "a.b", ""]),
        st.fixed_dictionaries(
            {"network": NETWORKS},
            optional={"frozen": st.booleans(), "random": st.booleans(), "weights": st.just("nowhere.pt"), "x": JUNK},
        ),
        max_size=3,
    ),
    "edges": st.lists(
        st.fixed_dictionaries(
            {
                "source": st.sampled_from(["labels", "a", "b", "a.fc:in", "a.", ":", "inputs", ["a", "labels"], []]),
                "target": st.sampled_from(["a", "b", "b.fc", "labels", ""]),
                "loss": METHODS
                | st.dictionaries(METHODS, st.dictionaries(st.text(max_size=4), JUNK, max_size=1), max_size=1),
            },
            optional={
                "gate": GATES | st.floats() | st.dictionaries(st.text(max_size=6), JUNK),
                "adapter": st.booleans(),
                "name": st.text(),
            },
        ),
        max_size=3,
    ),
    "preset": st.sampled_from(["mutual", "full", "nope"])
    | st.dictionaries(st.just("from_matrix"), st.fixed_dictionaries({"gates": JUNK})),
}
GRAPH = {
    "nodes": {"a": {"network": "cnn_tiny"}, "b": {"network": "cnn_tiny", "frozen": True, "random": True}},
    "edges": [
        {"source": "labels", "target": "a", "loss": "cross_entropy"},
        {"source": "b", "target": "a", "loss": {"kd": {"temperature": 2}}, "gate": 0.5},
    ],
}
USUAL: dict[str, dict[str, Any]] = {
    "amalgamate": {"teachers": {"low": "taught/low", "high": "taught/high"}, "student": "cnn_tiny"},
    "compare": {"teacher": "cnn_small", "student": "cnn_tiny"},
    "distill": {"teacher": ["taught/all"], "student": "cnn_tiny"},
    "search": {"target": "cnn_tiny", "partners": ["cnn_tiny"]},
    "evolve": {"network": "cnn_tiny"},
    "slim": {"network": "taught/all"},
    "graph": GRAPH,
    "branch": {"data": "folder:nowhere"},
}
"""What makes a command sensible, before something is changed about it."""
LEFT_OUT = {"out", "name", "download", "command", "compile"}
"""Where results go and what is fetched is not for a machine to decide; compiling is tried elsewhere."""


def of_type(annotation: Any) -> st.SearchStrategy[Any]:
    """Values as a field's type has them, mostly."""
    kind, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if kind is typing.Literal:
        return st.sampled_from(inner)
    if kind is typing.Annotated:
        return of_type(inner[0])
    if kind is tuple:
        return st.lists(of_type(inner[0]), max_size=3)
    if kind is dict:
        return st.dictionaries(st.text(max_size=5), JUNK, max_size=2)
    if inner:
        return st.one_of(*map(of_type, inner))
    small = {bool: st.booleans(), int: st.integers(1, 40), float: st.floats(0.0, 0.9), str: st.text(max_size=8)}
    return small.get(annotation, st.none())


@functools.cache
def values(kind: type[Recipe], name: str) -> st.SearchStrategy[Any]:
    annotation = kind.model_fields[name].annotation
    meant = MEANT.get(name, of_type(annotation))
    if name == "teachers":
        named = st.dictionaries(st.sampled_from(["low", "high", "3"]), NETWORKS, max_size=3)
        meant = st.lists(NETWORKS, max_size=2) if str(annotation).startswith("tuple") else named
    return st.sampled_from([meant] * 12 + [JUNK, WRONG]).flatmap(lambda kind: kind)


@st.composite
def asked(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """A sensible request with some of its options changed."""
    command = draw(st.sampled_from(sorted(RECIPES)))
    kind = RECIPES[command]
    fields = sorted(kind.model_fields.keys() - LEFT_OUT)
    chosen = draw(st.lists(st.sampled_from(fields), max_size=4, unique=True))
    usual = draw(st.sampled_from([USUAL.get(command, {})] * 19 + [{}]))
    return command, {**usual, **{name: draw(values(kind, name)) for name in chosen}}


@st.composite
def words(draw: st.DrawFn) -> list[str]:
    """A command line: options with their values as words, and some words that belong to nothing."""
    command, options = draw(asked())
    found = [command]
    for name, value in options.items():
        parts = value if isinstance(value, list) else [value]
        if isinstance(value, dict):
            parts = [f"{key}={item}" for key, item in value.items()]
        found += (
            [f"--no-{flag(name)[2:]}"] if value is False else [flag(name), *([] if value is True else map(str, parts))]
        )
    stray = st.sampled_from(
        ["--temperature", "4", "--beta", "--nope", "-x", "--", "kd", "--resume", "--json", "--quiet", ""]
    )
    return [*found, *draw(st.lists(stray | st.text(max_size=6), max_size=2))]


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A working folder, and digits that are read once."""
    read = functools.cache(_load._read_digits)
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patched:
        patched.setattr(_load, "_read_digits", read)
        patched.setenv("HOME", folder)
        patched.delenv("MENTORCH_DATA", raising=False)
        os.chdir(folder)
        for name, classes in {"low": "01234", "high": "45678", "all": "0123456789"}.items():
            arguments = {"num_classes": len(classes), "in_channels": 1}
            card = zoo.Card(name, "cnn_tiny", arguments, classes=tuple(classes))
            zoo.save(build("cnn_tiny", **arguments), f"taught/{name}", card)
        yield Path(folder)
        os.chdir(before)


def call(arguments: list[str]) -> int:
    """The exit code; the error, if there is one, is one line and was meant."""
    out, err = io.StringIO(), io.StringIO()
    threads = torch.get_num_threads()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as end:
        main(arguments)
    torch.set_num_threads(threads)
    told = err.getvalue()
    assert end.value.code in (0, 1, 2), told
    assert "Traceback" not in told
    assert "(unexpected: " not in told, told
    errors = [line for line in told.splitlines() if line.startswith("error: ")]
    assert len(errors) == (1 if end.value.code else 0), told
    assert not errors or (told.splitlines()[-1] == errors[0] and len(errors[0]) < 2000), told
    return int(end.value.code)


def campaign(examples: int, strategy: st.SearchStrategy[Any], check: Callable[[Any], int]) -> dict[str, int]:
    """How often each exit code was seen; all that went wrong is told at the end, each kind of it once."""
    found, wrong = dict.fromkeys(("exit_0", "exit_1", "exit_2"), 0), {}

    @settings(max_examples=examples, suppress_health_check=list(HealthCheck), database=None)
    @given(strategy)
    def run(example: Any) -> None:
        try:
            found[f"exit_{check(example)}"] += 1
        except Exception as error:
            text = " ".join(str(error).split())
            wrong.setdefault(text[:50], f"{example!r}: {type(error).__name__}: {text[:400]}")

    run()
    assert not wrong, "\n".join(wrong.values())
    assert sum(found.values()) == examples
    return found


LENGTHS = pytest.mark.parametrize("examples", [CI, pytest.param(NIGHTLY, marks=pytest.mark.nightly)])


@LENGTHS
def test_recipes(examples: int, place: Path, count: Callable[..., None]) -> None:
    def check(example: tuple[str, dict[str, Any]]) -> int:
        command, options = example
        path = place / "asked.yaml"
        path.write_text(json.dumps({"command": command, **options}))
        return call(["run", str(path), "--dry-run", "--out", str(place / "runs")])

    found = campaign(examples, asked(), check)
    count(fuzzed_examples=examples, **found)
    assert found["exit_0"] > 0
    assert found["exit_2"] > 0


@LENGTHS
def test_command_lines(examples: int, place: Path, count: Callable[..., None]) -> None:
    def check(example: list[str]) -> int:
        return call([*example[:1], "--dry-run", "--out", str(place / "runs"), *example[1:]])

    found = campaign(examples, words(), check)
    count(fuzzed_examples=examples, **found)
    assert found["exit_0"] > 0
    assert found["exit_2"] > 0


@LENGTHS
def test_texts(examples: int, place: Path, count: Callable[..., None]) -> None:
    fields = sorted({name for kind in RECIPES.values() for name in kind.model_fields})
    pieces = st.sampled_from(
        [
            "command: ",
            "train\n",
            "graph\n",
            "- ",
            "  ",
            "[",
            "]",
            "{",
            "}",
            ": ",
            "\n",
            "&a ",
            "*a",
            "<<: ",
            "!!int ",
            "? ",
            "'",
            "|\n",
        ]
    )
    texts = st.lists(pieces | st.sampled_from(fields) | st.text(max_size=5), max_size=25).map("".join)

    def check(text: str) -> int:
        path = place / "asked.yaml"
        path.write_bytes(text.encode(errors="surrogatepass"))
        return call(["run", str(path), "--dry-run", "--out", str(place / "runs")])

    count(fuzzed_examples=examples, **campaign(examples, texts, check))


def test_options_of_losses_are_among_what_is_made_up() -> None:
    assert {"temperature", "beta"} <= {name for loss in known() for name in options_of(loss)}
