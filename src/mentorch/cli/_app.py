"""The command line: which commands there are, and how it ends. A command is loaded when it is the one that is meant."""

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core

from mentorch._errors import MentorchError, UsageError

COMMANDS: Mapping[str, str] = {
    "compare": "The same student with each method, over several seeds.",
    "distill": "Teach a student with one method, from one teacher or several.",
    "train": "Train a network from labels and keep it with its card.",
    "search": "Search who should teach whom, among networks that learn.",
    "amalgamate": "Make one student of several specialists, without labels.",
    "branch": "Make one student that segments, finds depth and normals.",
    "evolve": "Train in generations: keep one part, forget the other.",
    "slim": "Remove the channels that matter least, train what is left.",
    "rank": "Rank the networks of a zoo by their promise for a data set.",
    "atlas": "The map of a zoo: who is near whom, and who could teach.",
    "run": "Do what a recipe file says.",
    "export": "Write a network as ONNX, torch.export or safetensors.",
    "report": "Write the report of a run folder again, or compare several.",
    "methods": "What methods are made of: losses, options, papers.",
    "data": "Data sets: list, describe, fetch.",
    "zoo": "Networks: known by name, and kept in folders with their cards.",
}
"""What ``mentorch --help`` says of each; the command itself is ``commands/_NAME.py``."""


class _Group(typer.core.TyperGroup):
    """Knows its commands by name, until one is meant."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Load the command, then do as always."""
        if args and args[0] in COMMANDS:
            self.commands[args[0]] = load(args[0])
        return super().resolve_command(ctx, args)


def load(name: str) -> Any:
    """A command, with its options."""
    command = typer.main.get_command(import_module(f"mentorch.cli.commands._{name}").app)
    command.name = name
    return command


app = typer.Typer(
    name="mentorch",
    cls=_Group,
    help="Networks that teach networks: knowledge transfer between PyTorch networks, compared honestly.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)


def _version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        typer.echo(f"mentorch {version('mentorch')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


for _name, _summary in COMMANDS.items():
    app.command(_name, help=_summary)(lambda: None)

# click's error for wrong usage, wherever this version of typer keeps it
_Misuse: type[typer.BadParameter] = typer.BadParameter.__mro__[1]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    words = [word for word in given if word != "--debug"]
    try:
        with _one_speaks():
            code = app(_gathered(words), prog_name="mentorch", standalone_mode=False)
        sys.exit(code or 0)
    except _Misuse as error:
        text = error.format_message()
        # a group without a command answers with its help this way
        typer.echo(text if "\n" in text else f"error: {text}", err=True)
        sys.exit(2)
    except Exception as error:
        if debug:
            raise
        text = str(error) if isinstance(error, MentorchError) else f"{type(error).__name__}: {error}"
        hint = "" if isinstance(error, MentorchError) else " (unexpected: --debug shows where)"
        if not (_rank() and isinstance(error, UsageError)):  # in wrong usage all are alike
            where = f" in process {_rank()}" if _rank() else ""
            typer.echo(f"error{where}: {' '.join(text.split())}{hint}", err=True)
        sys.exit(2 if isinstance(error, UsageError) else 1)


def _rank() -> int:
    """Which of the processes that ``torchrun`` started this is; known without torch."""
    return int(os.environ.get("RANK", "0")) if "TORCHELASTIC_RUN_ID" in os.environ else 0


@contextlib.contextmanager
def _one_speaks() -> Iterator[None]:
    """Of processes that work together, the first one shows what happens."""
    if not _rank():
        yield
        return
    with (
        Path(os.devnull).open("w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        yield


def _gathered(words: list[str]) -> list[str]:
    """The words of a command with options, as its options have them."""
    if not words or words[0] not in COMMANDS:
        return words
    from mentorch.cli._words import gather

    return gather(words, own_options(words[0]))


def own_options(name: str) -> set[str]:
    """The options of a command that takes options of losses beside them; of others none."""
    from mentorch.cli._transfer import TransferRecipe
    from mentorch.cli._yaml import RECIPES

    if not issubclass(RECIPES.get(name, object), TransferRecipe):
        return set()
    return {option for p in load(name).params for option in (*p.opts, *p.secondary_opts)} | {"--help"}
