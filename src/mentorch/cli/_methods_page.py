"""``mentorch methods``, and the list of methods below ``--help``: what there is to learn with."""

import inspect
import re
from typing import Any

import typer

from mentorch import losses
from mentorch._errors import unknown
from mentorch.cli._notation import DEFAULTS, IN_PYTHON, SCRATCH, WEIGHTS, WRAPPERS, known, options_of, wrapper, wraps
from mentorch.cli._terminal import show_table
from mentorch.losses import LossInfo, OptionInfo

_PAPERS = {
    "standardized": "Sun et al., CVPR 2024, arXiv 2403.01427",
    "where_correct": "Minami et al., ACCV 2020, arXiv 1909.04286",
}
_KINDS = {
    "sample": "one value per sample",
    "row": "one value per sample, which depends on the others of the batch",
    "batch": "one value per batch",
}
_READS = {
    "logits": "logits",
    "embedding": "the embedding, which enters the classifier",
    "stage": "the maps of the middle stage",
    "first_stage": "the maps of the first stage",
    "last_stage": "the maps of the last stage",
    "stages": "the maps of each stage, one edge for each",
    "all_stages": "the maps of all stages together",
    "stages_embedding": "the maps of all stages together, and the embedding",
    "stages_logits": "the student's maps and logits, the teacher's logits",
}
_TYPES = {bool: "yes or no", int: "whole number", float: "number", tuple: "numbers"}


def method_lines() -> list[tuple[str, str, str]]:
    """What methods are made of: name, summary, paper."""
    infos = losses.catalogue()
    found = [(name, infos[name].summary, _short(infos[name].paper)) for name in known() if name != SCRATCH]
    return [*found, *((f"{name}-LOSS", _first_line(wrapper(name)), _short(_PAPERS[name])) for name in WRAPPERS)]


def _short(paper: str) -> str:
    """A paper without its address, if it was published elsewhere.

    >>> _short("Zhao et al., CVPR 2022, arXiv 2203.08679"), _short("Huang, Wang, arXiv 1707.01219")
    ('Zhao et al., CVPR 2022', 'Huang, Wang, arXiv 1707.01219')
    """
    where = re.match(r".*? (19|20)\d\d(?!\d|\.)", paper)
    return where[0] if where else paper


def _first_line(function: Any) -> str:
    line = (inspect.getdoc(function) or "").splitlines()[0]
    return (line[0].lower() + line[1:]).rstrip(".")


def show_methods() -> None:
    """All losses by name."""
    infos = {name: info for name, info in sorted(losses.catalogue().items()) if name in known()}
    rows = [
        {"name": name, "what": info.summary, "paper": info.paper, "weight": f"{info.weight:g}", "reads": info.reads}
        for name, info in infos.items()
    ]
    rows += [
        {
            "name": f"{name}-LOSS",
            "what": _first_line(wrapper(name)),
            "paper": _PAPERS[name],
            "weight": "",
            "reads": "logits",
        }
        for name in WRAPPERS
    ]
    show_table(rows)


def show_method(name: str, formatter: Any) -> None:
    """One loss, with everything that can be chosen about it, or one wrapper.

    Raises:
        UsageError: for one that does not exist.
    """
    infos = losses.catalogue()
    if name in WRAPPERS:
        _write_wrapper(name, formatter)
    elif name in infos:
        _write_loss(infos[name], formatter)
    else:
        raise unknown("loss", name, [*infos, *WRAPPERS])
    typer.echo(formatter.getvalue().rstrip("\n"))


def _write_wrapper(name: str, formatter: Any) -> None:
    formatter.write_text(f"{name}: {_first_line(wrapper(name))}")
    formatter.write_paragraph()
    around = [f"{name}-{loss}" for loss in known() if wraps(name, loss)]
    formatter.write_dl(
        [("paper", _PAPERS[name]), ("written", ", ".join(around)), ("in Python", f"mentorch.losses.{name}(loss)")]
    )


def _write_loss(info: LossInfo, formatter: Any) -> None:
    formatter.write_text(f"{info.name}: {info.summary}")
    formatter.write_paragraph()
    formatter.write_dl(_facts(info))
    options = options_of(info.name).values()
    if not options:
        return
    title, first = "Options", next(iter(options))
    if info.name in known():
        text, flag = _value(first.default), first.name.replace("_", "-")
        flag = f"--no-{flag}" if first.type is bool else f"--{flag} {text}"
        title += (
            f", written {info.name}:{first.name}={text} in a method, {flag}, or --set {info.name}.{first.name}={text}"
        )
    with formatter.section(title):
        formatter.write_dl([(option.name, _described(info.name, option)) for option in options])


def _facts(info: LossInfo) -> list[tuple[str, str]]:
    reads = [_READS[info.reads] if info.teacher else f"{_READS[info.reads]} of the student"]
    reads += ["labels"] * (info.labels or not info.teacher) + ["which samples these are"] * info.index
    beside = f", beside {info.labels_weight:g} on the labels" if info.teacher else ""
    facts = [
        ("paper", info.paper),
        ("reads", ", ".join(reads)),
        ("gives", _KINDS[info.kind]),
        ("weight", f"{info.weight:g}, as published{beside}{_here(WEIGHTS.get(info.name))}"),
        ("in Python", f"mentorch.losses.{info.function.__name__}"),
    ]
    return facts if info.by_name else [*facts, ("by name", f"no, as {IN_PYTHON[info.name]}")]


def _here(value: Any) -> str:
    return "" if value is None else f"; {_value(value)} on the command line"


def _value(default: Any) -> str:
    if isinstance(default, tuple):
        return ";".join(f"{value:g}" for value in default)
    return f"{default:g}" if isinstance(default, float) else str(default).lower()


def _described(loss: str, option: OptionInfo) -> str:
    kind = " or ".join(option.choices) or _TYPES[option.type]
    if option.type is bool and loss in known():
        flag = option.name.replace("_", "-")
        kind = f"--{flag} or --no-{flag}"
    here = _here(DEFAULTS.get(loss, {}).get(option.name))
    return f"{option.doc.rstrip('.')}  [{kind}; default: {_value(option.default)}{here}]"
