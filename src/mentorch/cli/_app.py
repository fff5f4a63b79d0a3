"""The commands. Each translates options to a recipe, and leaves the work to the library."""

import inspect
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from mentorch._errors import MentorchError, UsageError
from mentorch.cli import _amalgamate, _compare, _evolve, _graph, _search, _slim, _train, _zoo
from mentorch.cli._amalgamate_recipe import AmalgamateRecipe
from mentorch.cli._methods_page import WithMethods, show_method, show_methods
from mentorch.cli._recipe import Recipe, TrainRecipe, check
from mentorch.cli._run import Session
from mentorch.cli._search_recipe import SearchRecipe
from mentorch.cli._structural_recipe import EvolveRecipe, SlimRecipe
from mentorch.cli._transfer import CompareRecipe, DistillRecipe, TransferRecipe
from mentorch.cli._words import ALIASES, flag, gather
from mentorch.cli._yaml import RECIPES, read_recipe

app = typer.Typer(
    name="mentorch",
    help="Networks that teach networks: knowledge transfer between PyTorch networks, compared honestly.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
data_app = typer.Typer(help="Data sets: list, describe, fetch.", no_args_is_help=True)
zoo_app = typer.Typer(help="Networks: known by name, and kept in folders with their cards.", no_args_is_help=True)
app.add_typer(data_app, name="data")
app.add_typer(zoo_app, name="zoo")

Resume = Annotated[bool, typer.Option("--resume", help="Go on in the run folder: finished parts are kept.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check and describe everything, train nothing.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but the result.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the results as JSON.")]

# what all commands share comes after what a command has for itself
_SHARED_PANELS = ("Methods", "Networks", "Data", "Training", "Machine", "Output")


def _from_recipe(kind: type[Recipe]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command one option per field of a recipe; the function receives the checked recipe."""

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        own = [p for name, p in inspect.signature(function).parameters.items() if name != "recipe"]
        fields = sorted(kind.model_fields.keys() - {"command"}, key=lambda name: _place(kind, name))

        def command(**values: Any) -> None:
            asked = {name: values[name] for name in fields if values[name] is not None}
            function(check(kind, asked), **{p.name: values[p.name] for p in own})

        parameters = [*own, *(_parameter(kind, name) for name in fields)]
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in parameters}
        command.__name__, command.__doc__ = function.__name__, function.__doc__
        return command

    return decorate


def _place(kind: type[Recipe], name: str) -> tuple[int, bool, int]:
    """Where ``--help`` shows a field: by its panel, there those of the command itself first."""
    shared = any(name in getattr(base, "model_fields", {}) for base in kind.__bases__)
    panel = _panel(kind, name)
    place = _SHARED_PANELS.index(panel) if panel in _SHARED_PANELS else -1
    return place, shared, list(kind.model_fields).index(name)


def _panel(kind: type[Recipe], name: str) -> str:
    return str((kind.model_fields[name].json_schema_extra or {})["panel"])  # type: ignore[index]


def _parameter(kind: type[Recipe], name: str) -> inspect.Parameter:
    field = kind.model_fields[name]
    panel, long = _panel(kind, name), flag(name)
    is_switch = field.annotation is bool
    declared = (f"{long}/--no-{long[2:]}",) if is_switch else (long, *ALIASES.get(name, ()))
    text = f"{field.description}  [default: {_written(field.default)}]"
    annotation: Any = Annotated[
        (bool | None) if is_switch else (str | None),
        typer.Option(*declared, help=text, rich_help_panel=panel, show_default=False, metavar=_metavar(name, kind)),
    ]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _metavar(name: str, kind: type[Recipe]) -> str | None:
    annotation = str(kind.model_fields[name].annotation)
    if annotation == "<class 'bool'>":
        return None
    if annotation.startswith("tuple"):
        return "A,B,..."
    if annotation.startswith("dict"):
        return "KEY=VALUE,..."
    if annotation.startswith("typing.Literal"):
        return "TEXT"
    return "NUMBER" if "int" in annotation or "float" in annotation else "TEXT"


def _written(value: Any) -> str:
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    if isinstance(value, bool):
        return "on" if value else "off"
    return "none" if value is None or value == {} else str(value)


@app.command(cls=WithMethods)
@_from_recipe(CompareRecipe)
def compare(
    recipe: CompareRecipe,
    *,
    resume: Resume = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Compare transfer methods: the same student, from one teacher, with each method, over several seeds.

    Takes (or trains) a teacher, trains the student with each method and from scratch, evaluates everything once on the
    test split, and writes table, curves and report into a run folder.

    mentorch compare --data digits --teacher cnn_medium --student cnn_tiny --methods scratch kd pkt kd+pkt --seeds 0 1 2
    """
    _compare.run(recipe, Session(recipe, resume=resume, quiet=quiet, as_json=as_json, dry_run=dry_run))


@app.command(cls=WithMethods)
@_from_recipe(DistillRecipe)
def distill(
    recipe: DistillRecipe,
    *,
    resume: Resume = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Teach a student with one method, from one teacher or several.

    The student without the teacher is trained beside it, so that the table says what the teacher is worth.

    mentorch distill runs/teacher/nodes/scratch-seed-0 resnet8 cifar10 --method dkd --beta 8 --seeds 0 1 2
    """
    _compare.run(recipe, Session(recipe, resume=resume, quiet=quiet, as_json=as_json, dry_run=dry_run))


@app.command()
@_from_recipe(TrainRecipe)
def train(
    recipe: TrainRecipe,
    *,
    resume: Resume = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Train a network from labels and keep it with its card: a teacher for later.

    mentorch train --network resnet20 --data cifar10 --augment standard --epochs 60
    """
    _train.run(recipe, Session(recipe, resume=resume, quiet=quiet, as_json=as_json, dry_run=dry_run))


@app.command()
@_from_recipe(SearchRecipe)
def search(
    recipe: SearchRecipe,
    *,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Processes that search here at the same time.")] = 1,
    join: Annotated[Path | None, typer.Option("--join", help="Help with the search of this run folder.")] = None,
    resume: Resume = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Search who should teach the target: its partners, and a gate for each pair of networks.

    Validation data alone decide. The best graphs are then trained with new seeds, beside the target alone, mutual
    learning and distillation, and measured on the test split.

    mentorch search --data cifar10 --target resnet32 --partners resnet32 resnet110 wrn_28_2 --trials 100 --workers 4
    """
    if join is not None:
        _search.join(join, quiet)
        return
    session = Session(recipe, resume=resume, quiet=quiet, as_json=as_json, dry_run=dry_run)
    _search.run(recipe, session, workers)


@app.command()
@_from_recipe(AmalgamateRecipe)
def amalgamate(
    recipe: AmalgamateRecipe,
    *,
    resume: Resume = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Make one student that knows what several teachers know, each with classes of its own, without labels.

    Beside it in the table: each teacher on its own task, all of them together, the student from labels, and the student
    from the teachers' logits alone.

    mentorch amalgamate --teachers birds=zoo/birds dogs=zoo/dogs --student resnet34 --data folder:birds+folder:dogs
    """
    _amalgamate.run(recipe, Session(recipe, resume=resume, quiet=quiet, as_json=as_json, dry_run=dry_run))


@app.command()
@_from_recipe(EvolveRecipe)
def evolve(
    recipe: EvolveRecipe,
    *,
    resume: Resume = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Train a network in generations: keep one part of its weights, forget the other, train again.

    Beside it in the table: the slim network of the kept channels, and the same network trained without evolution for as
    many epochs.

    mentorch evolve --network resnet20 --data cifar10 --train-size 1000 --keep 0.5 --generations 5 --seeds 0 1 2
    """
    _evolve.run(recipe, Session(recipe, resume=resume, quiet=quiet, as_json=as_json, dry_run=dry_run))


@app.command()
@_from_recipe(SlimRecipe)
def slim(
    recipe: SlimRecipe,
    *,
    resume: Resume = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Remove the channels of a network that matter least, and train what is left, from labels or from its former self.

    Beside it in the table: a network of the same cost, trained from fresh weights.

    mentorch slim --network runs/big/nodes/scratch-seed-0 --data cifar10 --to 0.5 --methods finetune kd --seeds 0 1 2
    """
    _slim.run(recipe, Session(recipe, resume=resume, quiet=quiet, as_json=as_json, dry_run=dry_run))


@app.command()
def run(
    recipe: Annotated[Path, typer.Argument(help="A recipe file; every run folder holds the one that made it.")],
    *,
    name: Annotated[str | None, typer.Option("--name", help="Name of the run folder, instead of the recipe's.")] = None,
    out: Annotated[str | None, typer.Option("--out", help="Folder of run folders, instead of the recipe's.")] = None,
    resume: Resume = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Do what a recipe file says: repeat a run, or train any graph declared in YAML."""
    asked = read_recipe(recipe)
    if resume and recipe.name == "recipe.yaml":  # go on in the folder that it lies in, wherever that was moved
        home = recipe.resolve().parent
        name, out = name or home.name, out or str(home.parent)
    changed = {key: value for key, value in (("name", name), ("out", out)) if value is not None}
    asked = asked.model_copy(update=changed)
    session = Session(asked, resume=resume, quiet=quiet, as_json=as_json, dry_run=dry_run, fresh=name is None)
    kinds: dict[str, Any] = {
        "compare": _compare.run,
        "distill": _compare.run,
        "train": _train.run,
        "search": _search.run,
        "amalgamate": _amalgamate.run,
        "evolve": _evolve.run,
        "slim": _slim.run,
        "graph": _graph.run,
    }
    kinds[asked.command](asked, session)  # type: ignore[attr-defined]


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders.")],
    out: Annotated[Path | None, typer.Option("--out", help="Where to write; needed for several runs.")] = None,
) -> None:
    """Write the report of a run folder again, or one page that compares several."""
    from mentorch.reports import write

    page = write(runs[0] if len(runs) == 1 else runs, out)
    typer.echo(page)


@data_app.command("list")
def data_list() -> None:
    """Data sets known by name, and where they are."""
    _zoo.show_data()


@data_app.command("info")
def data_info(
    name: Annotated[str, typer.Argument(help="A name, or folder:PATH.")],
    data_root: Annotated[Path | None, typer.Option("--data-root", help="Where to look first.")] = None,
) -> None:
    """Read a data set, check it and describe it."""
    _zoo.describe_data(name, data_root)


@data_app.command("fetch")
def data_fetch(
    name: Annotated[str, typer.Argument(help="A name.")],
    data_root: Annotated[Path | None, typer.Option("--data-root", help="Where to put it.")] = None,
) -> None:
    """Download a data set's standard archives, checked by checksum."""
    from mentorch.data import fetch

    typer.echo(fetch(name, data_root))


@zoo_app.command("networks")
def zoo_networks(
    num_classes: Annotated[int, typer.Option("--classes", help="Number of classes.")] = 10,
    size: Annotated[int, typer.Option("--size", help="Side of the images.")] = 32,
) -> None:
    """Networks known by name, with parameters and multiply-adds."""
    _zoo.show_networks(num_classes, size)


@zoo_app.command("list")
def zoo_list(root: Annotated[Path, typer.Argument(help="A folder of cards.")] = Path("runs")) -> None:
    """Networks kept in a folder."""
    _zoo.show_cards(root)


@zoo_app.command("info")
def zoo_info(folder: Annotated[Path, typer.Argument(help="A folder with a card.")]) -> None:
    """One network's card; its weights are checked against it."""
    _zoo.show_card(folder)


@app.command()
def methods(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="One of them, with all its options.")] = None,
) -> None:
    """Losses that methods are made of, with the papers they are from."""
    if name is None:
        show_methods()
    else:
        show_method(name, context.make_formatter())


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


# click's error for wrong usage, wherever this version of typer keeps it
_Misuse: type[typer.BadParameter] = typer.BadParameter.__mro__[1]


def _own_options(words: Sequence[str]) -> set[str]:
    """The options of a command that takes options of losses beside them; of others none."""
    name = words[0] if words else ""
    if not issubclass(RECIPES.get(name, Recipe), TransferRecipe):
        return set()
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    return {option for p in command.params for option in (*p.opts, *p.secondary_opts)} | {"--help"}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    words = [word for word in given if word != "--debug"]
    try:
        code = app(gather(words, _own_options(words)), prog_name="mentorch", standalone_mode=False)
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
        typer.echo(f"error: {' '.join(text.split())}{hint}", err=True)
        sys.exit(2 if isinstance(error, UsageError) else 1)
