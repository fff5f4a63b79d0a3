"""Which epoch is best, and which weights are left at the end."""

from collections.abc import Mapping
from typing import Literal

from mentorch._errors import RunError
from mentorch.training._training import Monitor, Training
from mentorch.training._weights import copied, fill


def judge(training: Training, monitor: Monitor, validation: Mapping[str, Mapping[str, float]]) -> float:
    """Keep the best weights; count epochs without improvement.

    Returns:
        The monitored metric, of the best of the nodes that may be; more is better.
    """
    history = training.history
    scores = {name: monitor.score(validation[name][monitor.metric]) for name in monitor.nodes(training.graph)}
    node = max(scores, key=lambda name: scores[name])
    best = -float("inf") if history.best_value is None else monitor.score(history.best_value)
    training.bad_epochs = 0 if scores[node] > best + monitor.min_delta else training.bad_epochs + 1
    if scores[node] > best:
        history.best_epoch, history.best_node = training.epoch, node
        history.best_value = validation[node][monitor.metric]
        history.best_weights = {name: copied(training.kept(name)) for name in training.graph.learning}
    return scores[node]


def leave(training: Training, select: Literal["last", "best"], monitor: Monitor) -> None:
    """Leave the nodes with the weights that were asked for.

    Raises:
        RunError: if no epoch was the best one; the nodes then have the last weights.
    """
    weights = training.history.best_weights if select == "best" else {}
    for name in training.graph.learning:
        if name in weights:
            fill(training.graph.nodes[name], weights[name])
        elif name in training.averages:
            training.graph.nodes[name].load_state_dict(training.averages[name].state_dict())
    if select == "best" and not weights:
        raise RunError(
            f"no epoch was best: {monitor.metric} was NaN or infinite in each; the nodes have their last weights"
        )
