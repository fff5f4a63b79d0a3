"""``mentorch slim``."""

from typing import TYPE_CHECKING

from mentorch.cli._options import from_recipe, new_app
from mentorch.cli._structural_recipe import SlimRecipe

if TYPE_CHECKING:
    from mentorch.cli._run import Session

app = new_app()


@app.command()
@from_recipe(SlimRecipe)
def slim(recipe: SlimRecipe, session: "Session") -> None:
    """Remove the channels of a network that matter least, and train what is left, from labels or from its former self.

    Beside it in the table: a network of the same cost, trained from fresh weights.

    mentorch slim --network runs/big/nodes/scratch-seed-0 --data cifar10 --to 0.5 --methods finetune kd --seeds 0 1 2
    """
    from mentorch.cli import _slim

    _slim.run(recipe, session)
