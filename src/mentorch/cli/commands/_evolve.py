"""``mentorch evolve``."""

from typing import TYPE_CHECKING

from mentorch.cli._options import from_recipe, new_app
from mentorch.cli._structural_recipe import EvolveRecipe

if TYPE_CHECKING:
    from mentorch.cli._run import Session

app = new_app()


@app.command()
@from_recipe(EvolveRecipe)
def evolve(recipe: EvolveRecipe, session: "Session") -> None:
    """Train a network in generations: keep one part of its weights, forget the other, train again.

    Beside it in the table: the slim network of the kept channels, and the same network trained without evolution for as
    many epochs.

    mentorch evolve --network resnet20 --data cifar10 --train-size 1000 --keep 0.5 --generations 5 --seeds 0 1 2
    """
    from mentorch.cli import _evolve

    _evolve.run(recipe, session)
