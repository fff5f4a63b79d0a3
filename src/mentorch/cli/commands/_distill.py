"""``mentorch distill``."""

from typing import TYPE_CHECKING

from mentorch.cli._methods_help import WithMethods
from mentorch.cli._options import from_recipe, new_app
from mentorch.cli._transfer import DistillRecipe

if TYPE_CHECKING:
    from mentorch.cli._run import Session

app = new_app()


@app.command(cls=WithMethods)
@from_recipe(DistillRecipe)
def distill(recipe: DistillRecipe, session: "Session") -> None:
    """Teach a student with one method, from one teacher or several.

    The student without the teacher is trained beside it, so that the table says what the teacher is worth.

    mentorch distill runs/teacher/nodes/scratch-seed-0 resnet8 cifar10 --method dkd --beta 8 --seeds 0 1 2
    """
    from mentorch.cli import _compare

    _compare.run(recipe, session)
