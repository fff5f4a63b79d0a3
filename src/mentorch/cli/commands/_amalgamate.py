"""``mentorch amalgamate``."""

from typing import TYPE_CHECKING

from mentorch.cli._amalgamate_recipe import AmalgamateRecipe
from mentorch.cli._options import from_recipe, new_app

if TYPE_CHECKING:
    from mentorch.cli._run import Session

app = new_app()


@app.command()
@from_recipe(AmalgamateRecipe)
def amalgamate(recipe: AmalgamateRecipe, session: "Session") -> None:
    """Make one student that knows what several teachers know, each with classes of its own, without labels.

    Beside it in the table: each teacher on its own task, all of them together, the student from labels, and the student
    from the teachers' logits alone. Of teachers for dense tasks, with --tasks: see 'mentorch branch'.

    mentorch amalgamate --teachers birds=zoo/birds dogs=zoo/dogs --student resnet34 --data folder:birds+folder:dogs
    """
    from mentorch.cli import _amalgamate

    _amalgamate.run(recipe, session)
