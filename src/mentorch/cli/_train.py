"""``mentorch train``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from mentorch import zoo
from mentorch.cli import _networks, _training
from mentorch.cli._compare import device_of
from mentorch.cli._recipe import TrainRecipe
from mentorch.cli._run import Session
from mentorch.comparison import Method, compare
from mentorch.methods import supervise


def run(recipe: TrainRecipe, session: Session) -> None:
    """Train one network, once per seed."""
    data = _training.dataset(recipe, recipe.train_size)
    named = _networks.make(recipe.network, data, recipe.weights)
    view = named.view or _training.view(recipe, data)
    if session.dry_run:
        session.tell(f"{supervise(named.network, view=view)}\n{len(recipe.seeds)} seeds into {session.folder}")
        return

    def keep(network: nn.Module, folder: Path, row: Mapping[str, Any]) -> None:
        metrics = {"validation": row["validation"], "test": row["test"]}
        training = {key: row[key] for key in ("seed", "epochs", "best_epoch", "trained_samples")}
        zoo.save(network, folder, _networks.card(folder.name, named, data, view, metrics=metrics, training=training))

    with session.hold():
        results = compare(
            lambda: _networks.make(recipe.network, data, recipe.weights).network,
            {"scratch": Method(lambda network: supervise(network, view=view))},
            data.to(device_of(recipe)),
            fit=_training.trainer(recipe, data),
            run=session.folder,
            seeds=recipe.seeds,
            view=view,
            augment=_training.augmentation(recipe, data),
            batch_size=recipe.batch_size,
            eval_batch_size=recipe.eval_batch_size,
            select=recipe.select,
            knn=recipe.knn,
            student_name=named.name,
            kind="train",
            resume=session.resume,
            save=keep if recipe.save_students != "none" else None,
            on_row=session.on_row,
        )
        session.finish(results)
