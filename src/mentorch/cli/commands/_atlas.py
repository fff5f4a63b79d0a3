"""``mentorch atlas``."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from mentorch.cli._options import AsJson, Quiet, new_app

app = new_app()


@app.command()
def atlas(
    zoo: Annotated[Path, typer.Argument(help="A folder with networks and their cards, at any depth.")],
    *,
    probes: Annotated[str, typer.Option("--probes", help="Data sets whose images are shown, with commas.")] = "digits",
    count: Annotated[int, typer.Option("--count", min=3, help="How many images, of all data sets together.")] = 128,
    size: Annotated[int | None, typer.Option("--size", min=1, help="Their side; that of the largest images.")] = None,
    k: Annotated[int, typer.Option("--k", min=1, help="Links of each network.")] = 5,
    weight: Annotated[float, typer.Option("--weight", min=0, help="Of the edges of attribution graphs, lambda.")] = 1.0,
    at: Annotated[str, typer.Option("--at", help="Where to read; else each network's own embedding.")] = "",
    engine: Annotated[Literal["local", "ray"], typer.Option("--engine", help="local: this machine; or Ray.")] = "local",
    workers: Annotated[int, typer.Option("--workers", min=1, help="Networks at the same time.")] = 1,
    shard: Annotated[str | None, typer.Option("--shard", help="I/N: embed every Nth network, draw no map.")] = None,
    trust: Annotated[bool, typer.Option("--trust", help="Import packages that cards name.")] = False,
    parquet: Annotated[bool, typer.Option("--parquet", help="Also write tables for other programs.")] = False,
    out: Annotated[Path, typer.Option("--out", help="Folder of run folders.")] = Path("runs"),
    name: Annotated[str | None, typer.Option("--name", help="Name of the run folder [default: atlas-ZOO].")] = None,
    data_root: Annotated[Path | None, typer.Option("--data-root", help="Where to look for data first.")] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Draw the map of a zoo: which networks look at the same, and relate images in the same way.

    Every network is shown the same images once. The run folder holds the map as JSON, GraphML and a page; called again,
    only what is new or changed in the zoo is computed. A network that fails is listed with its reason.

    mentorch atlas runs --probes digits,fashion-mnist --count 128 --workers 4
    """
    from mentorch.cli._atlas import Asked, run

    folder = out / (name or f"atlas-{zoo.resolve().name}")
    shown = tuple(part.strip() for part in probes.split(",") if part.strip())
    asked = Asked(zoo, shown, count, size, k, weight, at, engine, workers, shard, trust, parquet, data_root)
    run(asked, folder, quiet=quiet, as_json=as_json)
