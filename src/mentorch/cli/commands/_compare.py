"""``mentorch compare``."""

from typing import TYPE_CHECKING

from mentorch.cli._methods_help import WithMethods
from mentorch.cli._options import from_recipe, new_app
from mentorch.cli._transfer import CompareRecipe

if TYPE_CHECKING:
    from mentorch.cli._run import Session

app = new_app()


@app.command(cls=WithMethods)
@from_recipe(CompareRecipe)
def compare(recipe: CompareRecipe, session: "Session") -> None:
    """Compare transfer methods: the same student, from one teacher, with each method, over several seeds.

    Takes (or trains) a teacher, trains the student with each method and from scratch, evaluates everything once on the
    test split, and writes table, curves and report into a run folder.

    mentorch compare --data digits --teacher cnn_medium --student cnn_tiny --methods scratch kd pkt kd+pkt --seeds 0 1 2
    """
    from mentorch.cli import _compare

    _compare.run(recipe, session)
