"""``mentorch report``."""

from pathlib import Path
from typing import Annotated

import typer

from mentorch._errors import UsageError
from mentorch.cli._options import new_app

app = new_app()


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders.")],
    out: Annotated[Path | None, typer.Option("--out", help="Where to write; needed for several runs.")] = None,
) -> None:
    """Write the report of a run folder again, or one page that compares several; of an atlas, its map."""
    from mentorch.reports import write, write_atlas_page, write_atlas_picture

    if atlases := [run for run in runs if (run / "atlas.json").exists()]:
        if out is not None or len(runs) > 1:
            raise UsageError(f"{atlases[0]} is an atlas, whose map is written into it: name it alone, without --out")
        write_atlas_picture(runs[0])
        typer.echo(write_atlas_page(runs[0]))
        return
    typer.echo(write(runs[0] if len(runs) == 1 else runs, out))
