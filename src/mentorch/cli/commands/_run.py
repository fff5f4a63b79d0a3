"""``mentorch run``."""

from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from mentorch.cli._options import AsJson, DryRun, Quiet, Resume, new_app

app = new_app()

_DONE_BY = {"distill": "compare"}  # recipes that another command's file carries out


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
    from mentorch.cli._run import Session
    from mentorch.cli._yaml import read_recipe

    asked = read_recipe(recipe)
    if resume and recipe.name == "recipe.yaml":  # go on in the folder that it lies in, wherever that was moved
        home = recipe.resolve().parent
        name, out = name or home.name, out or str(home.parent)
    changed = {key: value for key, value in (("name", name), ("out", out)) if value is not None}
    asked = asked.model_copy(update=changed)
    session = Session(asked, resume=resume, quiet=quiet, as_json=as_json, dry_run=dry_run, fresh=name is None)
    import_module(f"mentorch.cli._{_DONE_BY.get(session.command, session.command)}").run(asked, session)
