"""``mentorch search``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mentorch.cli._options import from_recipe, new_app
from mentorch.cli._search_recipe import SearchRecipe

if TYPE_CHECKING:
    from mentorch.cli._run import Session

app = new_app()


@app.command()
@from_recipe(SearchRecipe)
def search(
    recipe: SearchRecipe,
    session: "Session",
    *,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Processes that search here at the same time.")] = 1,
    join: Annotated[Path | None, typer.Option("--join", help="Help with the search of this run folder.")] = None,
) -> None:
    """Search who should teach the target: its partners, and a gate for each pair of networks.

    Validation data alone decide. The best graphs are then trained with new seeds, beside the target alone, mutual
    learning and distillation, and measured on the test split.

    mentorch search --data cifar10 --target resnet32 --partners resnet32 resnet110 wrn_28_2 --trials 100 --workers 4
    """
    from mentorch.cli import _search

    if join is not None:
        _search.join(join, session.quiet)
    else:
        _search.run(recipe, session, workers)
