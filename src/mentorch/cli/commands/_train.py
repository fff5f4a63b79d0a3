"""``mentorch train``."""

from typing import TYPE_CHECKING

from mentorch.cli._options import from_recipe, new_app
from mentorch.cli._recipe import TrainRecipe

if TYPE_CHECKING:
    from mentorch.cli._run import Session

app = new_app()


@app.command()
@from_recipe(TrainRecipe)
def train(recipe: TrainRecipe, session: "Session") -> None:
    """Train a network from labels and keep it with its card: a teacher for later.

    mentorch train --network resnet20 --data cifar10 --augment standard --epochs 60
    """
    from mentorch.cli import _train

    _train.run(recipe, session)
