"""From a recipe to the things that training needs."""

import functools
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from mentorch import _processes, gates
from mentorch._errors import UsageError, unknown
from mentorch.cli._recipe import Recipe
from mentorch.comparison import training_batches
from mentorch.data import Augment, Batch, Batches, Dataset, Normalize, dense, load, standard
from mentorch.data._folder import list_folder
from mentorch.training import History, Monitor, Plateau, fit

CHECKPOINT_SECONDS = 20.0  # what a kill may cost where an epoch takes less
MIN_DELTA = 2e-4  # what counts as an improvement for early stopping, as in the older toolkit


def dataset(recipe: Recipe, train_size: int | None) -> Dataset:
    """The data of a recipe.

    Raises:
        UsageError: if there are none, or nothing validates, or not what the recipe says.
    """
    public = recipe.protocol == "public"
    asked = recipe.val_fraction != Recipe.model_fields["val_fraction"].default
    if asked and _validates_itself(recipe.data):
        raise UsageError(f"val_fraction has no effect with {recipe.data}, which has a validation split of its own")
    found = load(
        recipe.data,
        root=recipe.data_root,
        validation=0.3 if public else recipe.val_fraction,
        split_seed=recipe.split_seed,
        train_size=train_size,
        download=recipe.download,
        image_size=recipe.image_size,
    )
    if not len(found.validation):
        raise UsageError(f"val_fraction {recipe.val_fraction} of {found.name!r} leaves no image to validate on")
    return found


def _validates_itself(data: str) -> bool:
    kind, _, path = data.partition(":")
    return kind == "folder" and "validation" in list_folder(Path(path).expanduser()).splits


def device(recipe: Recipe) -> torch.device:
    """Where a recipe runs.

    Raises:
        UsageError: for a device that does not exist here.
    """
    name = {"auto": "cuda" if torch.cuda.is_available() else "cpu", "gpu": "cuda"}.get(recipe.device, recipe.device)
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name not in present:
        raise unknown("device", name, ["auto", *present])
    if not present[name]:
        raise UsageError(f"device {name!r} was asked for, but torch {torch.__version__} finds none here")
    together = name == "cuda" and _processes.started_together()
    return torch.device(name, _processes.per_machine()[0]) if together else torch.device(name)


def view(recipe: Recipe, data: Dataset) -> Normalize | None:
    """What a network that is trained here sees of the inputs: normalised by the training split's statistics."""
    if recipe.protocol == "public":
        return None
    return Normalize(data.mean, [std or 1.0 for std in data.std])  # a channel that is the same everywhere stays so


def example(data: Dataset) -> Batch:
    """Four images with their labels, to try things on."""
    return next(iter(Batches(data.train, min(4, len(data.train)))))


def augmentation(recipe: Recipe, data: Dataset) -> Augment | None:
    """The augmentation of a recipe."""
    return standard(data) if recipe.augment == "standard" else None


def trainer(
    recipe: Recipe, data: Dataset | dense.DenseDataset, *, epochs: int | None = None, node: str = ""
) -> Callable[..., History]:
    """:func:`mentorch.fit` with a recipe's options bound."""
    epochs = epochs or recipe.epochs
    return functools.partial(
        fit,
        optimizer=optimizer(recipe),
        epochs=epochs,
        schedule=schedule(recipe, steps(recipe, data, epochs)),
        monitor=Monitor(node=node, min_delta=MIN_DELTA),
        patience=recipe.early_stop or None,
        clip_norm=recipe.clip_norm,
        clip_value=recipe.clip_value,
        accumulate=recipe.accumulate,
        ema=recipe.ema,
        precision=recipe.precision,
        device=device(recipe).type,
        compile=recipe.compile,
        channels_last=recipe.channels_last,
        diagnose=math.ceil(epochs / 10) if recipe.diagnose else None,
        tensorboard=recipe.tensorboard,
        checkpoint_seconds=CHECKPOINT_SECONDS,
    )


def steps(recipe: Recipe, data: Dataset | dense.DenseDataset, epochs: int) -> int:
    """Optimiser steps of a training."""
    each = training_batches(data.train, recipe.batch_size).count(0, _processes.world())
    return math.ceil(each / recipe.accumulate) * epochs


def optimizer(recipe: Recipe) -> Callable[[Any], torch.optim.Optimizer]:
    """A factory of the recipe's optimiser."""
    makers: Mapping[str, Any] = {
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
        "adamax": torch.optim.Adamax,
        "rmsprop": torch.optim.RMSprop,
        "sgd": torch.optim.SGD,
        "adagrad": torch.optim.Adagrad,
        "adadelta": torch.optim.Adadelta,
    }
    options: dict[str, Any] = {"lr": recipe.lr, "weight_decay": recipe.weight_decay}
    for name in ("betas", "rho", "momentum", "nesterov"):
        if not recipe.idle(name):
            options["alpha" if (recipe.optimizer, name) == ("rmsprop", "rho") else name] = getattr(recipe, name)
    if recipe.keras_compat:
        options["eps"] = 1e-7
    return functools.partial(makers[recipe.optimizer], **options)


def schedule(recipe: Recipe, steps: int) -> list[Any]:
    """The recipe's learning-rate schedules, to be multiplied."""
    parts: list[Any] = []
    if recipe.lr_schedule == "plateau":
        parts.append(Plateau(recipe.lr_factor, recipe.lr_patience, recipe.lr_min, MIN_DELTA))
    elif recipe.lr_schedule == "cosine":
        parts.append(gates.Cosine(1.0, 0.0))
    elif recipe.lr_schedule == "multistep":
        parts.append(gates.Steps(recipe.lr_milestones, recipe.lr_factor))
    if recipe.lr_warmup:
        parts.append(gates.Warmup(recipe.lr_warmup))
    if recipe.lr_time_decay:
        parts.append(gates.Decay(recipe.lr_time_decay * (steps - 1)))
    return parts
