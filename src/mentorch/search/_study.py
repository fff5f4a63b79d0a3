"""Opening a study: where it is kept, what it may be shared with, how it proposes and gives up."""

import contextlib
import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from mentorch._errors import RunError, UsageError, unknown
from mentorch.search._lock import JournalLock, held
from mentorch.search._space import Space

Sampler = Literal["tpe", "random"]
Pruner = Literal["none", "asha", "hyperband"]
STARTUP = 20
MARGIN = 0.1


def open_study(
    run: Path, storage: str | None, asked: dict[str, Any], sampler: Sampler, pruner: Pruner, seed: int, first: int
) -> Any:
    """The study of a run folder, made if it is not there yet.

    Args:
        run: the folder; in a database its name is the study's.
        storage: None for ``study.journal``; a path from the folder that ends in ``.journal``, ``.db`` or ``.sqlite``;
            or the URL of a database.
        asked: what a study must be about to be shared.
        sampler: who proposes.
        pruner: who gives up.
        seed: of the sampler; those who join draw otherwise.
        first: the first epoch at which a trial may be given up.

    Raises:
        UsageError: for an unknown sampler, pruner or kind of storage, or if the study is about something else.
        RunError: if the storage cannot be opened.
    """
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise UsageError("a search needs optuna: pip install optuna") from error

    with held(run / ".study.lock"):
        try:
            with quiet():
                study = optuna.create_study(
                    storage=_storage(run, storage),
                    study_name=_name(run, storage),
                    direction="maximize",
                    load_if_exists=True,
                )
            study.get_trials(deepcopy=False)  # some damage shows only here
            _same(study, asked, run)
            joined = study.user_attrs.get("joined", 0)
            study.set_user_attr("joined", joined + 1)
        except (UsageError, RunError):
            raise
        except Exception as error:
            raise RunError(f"cannot open the study of {run}: {' '.join(str(error).split())}") from error
    with quiet():
        study.sampler = _sampler(sampler, seed + 1000 * joined)
        study.pruner = _pruner(pruner, first, asked["problem"]["epochs"])
    return study


def load_study(run: Path, storage: str | None = None) -> Any:
    """The study of a folder, to read.

    Raises:
        RunError: if there is none, or it is damaged.
    """
    import optuna

    try:
        with quiet():
            study = optuna.load_study(storage=_storage(run, storage), study_name=_name(run, storage))
            study.get_trials(deepcopy=False)  # some damage shows only here
        return study
    except KeyError as error:
        raise RunError(f"there is no study of {run} in {storage or run / 'study.journal'}") from error
    except (UsageError, RunError):
        raise
    except Exception as error:  # every storage has errors of its own
        raise RunError(f"cannot read the study of {run}: {' '.join(str(error).split())}") from error


def first_prunable(space: Space, epochs: int) -> int:
    """The first epoch after which a trial may be given up: every gate has opened, and a tenth of training more.

    Trials are compared at equal epochs, so it is one for the whole space.
    """
    return max(1, math.ceil(round((space.opens_at + MARGIN) * epochs, 9)))


def _same(study: Any, asked: dict[str, Any], run: Path) -> None:
    if "asked" not in study.user_attrs:
        study.set_user_attr("asked", asked)
        return
    before, now = _flat(study.user_attrs["asked"]), _flat(asked)
    for key in sorted({*before, *now}):
        if before.get(key) != now.get(key):
            raise UsageError(
                f"{run} holds the study of another problem or space: {key} is {before.get(key)!r} there and "
                f"{now.get(key)!r} here; choose another folder"
            )


def _flat(asked: dict[str, Any]) -> dict[str, Any]:
    """``problem.epochs`` and so on."""
    pairs = {part: values if isinstance(values, dict) else {"": values} for part, values in asked.items()}
    return {f"{part}.{key}".strip("."): value for part, values in pairs.items() for key, value in values.items()}


def _name(run: Path, storage: str | None) -> str:
    """A file holds one search, and may be moved with its folder; a database holds many."""
    return run.resolve().name if storage is not None and "://" in storage else "search"


def _storage(run: Path, storage: str | None) -> Any:
    import optuna
    from optuna.storages.journal import JournalFileBackend

    if storage is not None and "://" in storage:
        return optuna.storages.RDBStorage(storage)
    path = run / (storage or "study.journal")
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".journal":
        lock: Any = JournalLock(path.with_name(f".{path.name}.lock"))
        return optuna.storages.JournalStorage(JournalFileBackend(str(path), lock_obj=lock))
    if path.suffix in (".db", ".sqlite"):
        # workers wait for each other instead of failing
        return optuna.storages.RDBStorage(f"sqlite:///{path}", engine_kwargs={"connect_args": {"timeout": 100}})
    raise UsageError(f"storage is a URL, or a path that ends in .journal, .db or .sqlite, got {storage!r}")


def _sampler(name: str, seed: int) -> Any:
    import optuna

    if name == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    if name == "tpe":
        # several workers at once: those whose trials are not finished count as bad, so that others look elsewhere
        return optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True, n_startup_trials=STARTUP)
    raise unknown("sampler", name, ("tpe", "random"))


def _pruner(name: str, first: int, epochs: int) -> Any:
    import optuna

    if name == "none":
        return optuna.pruners.NopPruner()
    if name == "asha":
        return optuna.pruners.SuccessiveHalvingPruner(min_resource=min(first, epochs), reduction_factor=2)
    if name == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=min(first, epochs), max_resource=epochs, reduction_factor=2)
    raise unknown("pruner", name, ("none", "asha", "hyperband"))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without Optuna's warnings that parts of it are experimental, which the user here did not choose."""
    from optuna.exceptions import ExperimentalWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category=ExperimentalWarning)
        yield
