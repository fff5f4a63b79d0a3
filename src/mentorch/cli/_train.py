"""``mentorch train``."""

import functools

from mentorch.cli import _networks, _training
from mentorch.cli._experiment import carry_out
from mentorch.cli._notation import SCRATCH
from mentorch.cli._recipe import TrainRecipe
from mentorch.cli._run import Session
from mentorch.comparison import Method
from mentorch.methods import supervise


def run(recipe: TrainRecipe, session: Session) -> None:
    """Train one network, once per seed."""
    data = _training.dataset(recipe, recipe.train_size)
    student = functools.partial(_networks.make, recipe.network, data, recipe.weights, new_head=True)
    named = student()
    view = named.view or _training.view(recipe, data)
    fit = _training.trainer(recipe, data)
    if session.dry_run:
        session.tell(f"{supervise(named.network, view=view)}\n{len(recipe.seeds)} seeds into {session.folder}")
        return
    with session.hold():
        methods = {SCRATCH: Method(functools.partial(supervise, view=view))}
        carry_out(recipe, session, data, methods, student=student, fit=fit, view=view)
