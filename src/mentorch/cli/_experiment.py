"""What ``compare``, ``train`` and ``run`` end with: networks trained over several seeds, measured, kept and shown."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from mentorch import zoo
from mentorch._files import write_json
from mentorch._graph import View
from mentorch.cli import _networks, _training
from mentorch.cli._recipe import Recipe
from mentorch.cli._run import Session
from mentorch.comparison import Method, Teacher, compare
from mentorch.data import Dataset
from mentorch.networks import Taps
from mentorch.training import History


def carry_out(
    recipe: Recipe,
    session: Session,
    data: Dataset,
    methods: Mapping[str, Method],
    *,
    student: Callable[[], _networks.Named],
    fit: Callable[..., History],
    view: View | None,
    teacher: Teacher | None = None,
    places: Taps | None = None,
    views: int | None = None,
) -> None:
    """Run the methods of a recipe in the session's folder.

    Args:
        recipe: what was asked for.
        session: its run folder.
        data: its data.
        methods: name -> method.
        student: makes a fresh student.
        fit: see :func:`mentorch.comparison.compare`.
        view: what students see of the inputs.
        teacher: see :func:`mentorch.comparison.compare`.
        places: where a student's features are, if it does not say so itself.
        views: see :func:`mentorch.comparison.compare`.
    """
    named = student()

    def keep(network: nn.Module, folder: Path, row: Mapping[str, Any]) -> None:
        metrics = {"validation": row["validation"], "test": row["test"]}
        training = {key: row[key] for key in ("method", "seed", "epochs", "best_epoch", "trained_samples")}
        name = f"{session.title}/{folder.name}"
        told = _networks.card(name, named, data, view, metrics=metrics, training=training, graph=row["graph"])
        zoo.save(network, folder, told)

    results = compare(
        lambda: student().network,
        methods,
        data.to(_training.device(recipe)),
        fit=fit,
        run=session.folder,
        teacher=teacher,
        seeds=recipe.seeds,
        view=view,
        augment=_training.augmentation(recipe, data),
        views=views,
        batch_size=recipe.batch_size,
        eval_batch_size=recipe.eval_batch_size,
        select=recipe.select,
        knn=recipe.knn,
        retrieval=recipe.retrieval,
        places=places,
        student_name=named.name,
        kind=session.command,
        resume=session.resume,
        save=keep if recipe.save_students != "none" else None,
        on_row=session.on_row,
    )
    if recipe.save_students == "best":
        _keep_best(session.folder, results)
    session.finish(results)


def _keep_best(folder: Path, results: dict[str, Any]) -> None:
    """Of all students keep the one that was best on validation data."""
    rows = [row for row in results["rows"] if row.get("model")]
    best = max(rows, key=lambda row: row["validation"][results["select"]]["accuracy"], default=None)
    for row in rows:
        if row is not best:
            shutil.rmtree(folder / row["model"], ignore_errors=True)
            row["model"] = None
    write_json(folder / "results.json", results)
