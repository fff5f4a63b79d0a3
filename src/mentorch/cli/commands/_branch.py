"""``mentorch branch``."""

from typing import TYPE_CHECKING

from mentorch.cli._branch_recipe import BranchRecipe
from mentorch.cli._options import from_recipe, new_app

if TYPE_CHECKING:
    from mentorch.cli._run import Session

app = new_app()


@app.command()
@from_recipe(BranchRecipe)
def branch(recipe: BranchRecipe, session: "Session") -> None:
    """Make one student that segments, measures depth and finds normals, from a teacher for each, without labels.

    'mentorch amalgamate --tasks ...' is the same. Beside it in the table: each teacher on its own task, and students of
    the same budget that learned from labels, and from the teachers' outputs alone.

    mentorch branch --tasks segmentation depth normals --data scenes --size 64 --seeds 0 1 2
    """
    from mentorch.cli import _branch

    _branch.run(recipe, session)
