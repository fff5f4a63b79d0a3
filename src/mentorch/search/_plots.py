"""Optuna's own pictures of a study, as files for the report."""

import io
import warnings
from pathlib import Path
from typing import Any

from mentorch._files import write_text
from mentorch.search._study import load_study

PLOTS = {
    "history": "plot_optimization_history",
    "importance": "plot_param_importances",
    "epochs": "plot_intermediate_values",
    "timeline": "plot_timeline",
}
"""Name of the file -> function of ``optuna.visualization.matplotlib``."""


def plot(run: str | Path, storage: str | None = None) -> list[Path]:
    """Draw a study as Optuna does, into ``figures/search-NAME.svg`` of its folder.

    Args:
        run: folder of the search.
        storage: as for :func:`search`.

    Returns:
        The files; none before two trials are complete, and none of a picture that Optuna cannot draw.
    """
    study = load_study(Path(run), storage)
    if sum(trial.state.name == "COMPLETE" for trial in study.get_trials(deepcopy=False)) < 2:
        return []  # nothing to see
    found = {name: _svg(study, function) for name, function in PLOTS.items()}
    files = []
    for name, svg in found.items():
        if svg is not None:
            files.append(Path(run) / "figures" / f"search-{name}.svg")
            write_text(files[-1], svg)
    return files


def _svg(study: Any, function: str) -> str | None:
    import matplotlib as mpl
    from matplotlib import pyplot
    from optuna.visualization import matplotlib as drawn

    out = io.StringIO()
    # what users have open or have set stays as it is
    with mpl.rc_context({"svg.hashsalt": function, "svg.fonttype": "none"}), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # experimental, and layouts that do not fit
        mine = set(pyplot.get_fignums())
        try:
            figure = getattr(drawn, function)(study).figure
            figure.savefig(out, format="svg", bbox_inches="tight", metadata={"Date": None})
        except (ValueError, RuntimeError):
            return None  # importance, where all values are the same
        finally:
            for number in set(pyplot.get_fignums()) - mine:
                pyplot.close(number)
    return out.getvalue()
