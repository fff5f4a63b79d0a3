"""``mentorch rank``."""

from typing import TYPE_CHECKING

from mentorch.cli._options import from_recipe, new_app
from mentorch.cli._rank_recipe import RankRecipe

if TYPE_CHECKING:
    from mentorch.cli._run import Session

app = new_app()


@app.command()
@from_recipe(RankRecipe)
def rank(recipe: RankRecipe, session: "Session") -> None:
    """Rank the networks of a zoo by what they promise for a data set, before anything is trained.

    Every network sees the same labelled training images once; one that cannot be used is named with its reason. Beside
    the scores: what each network costs, how far the scores agree, and what its size alone would have said.

    mentorch rank --zoo zoo --data folder:birds --scores logme ridge gbc --distill resnet8 --k 2
    """
    from mentorch.cli import _rank

    _rank.run(recipe, session)
