"""How well a network does all tasks, and each."""

from torch import Tensor

from mentorch import metrics
from mentorch._errors import UsageError
from mentorch.data import LabelSpace


def accuracy_by_task(space: LabelSpace, outputs: Tensor, labels: Tensor) -> dict[str, float]:
    """Accuracy over all classes, and for each task what it would be if one knew which task an image belongs to.

    >>> import torch
    >>> space = LabelSpace.union({"pets": ("cat", "dog"), "farm": ("cow",)})
    >>> accuracy_by_task(space, torch.tensor([[2.0, 1.0, 3.0], [0.0, 1.0, 0.0]]), torch.tensor([0, 1]))
    {'joint': 0.5, 'task': 1.0, 'pets': 1.0}

    Args:
        space: joint classes; its parts are the tasks.
        outputs: of the joint classes, shape ``[N, K]``.
        labels: joint classes, shape ``[N]``.

    Returns:
        ``joint``; ``task``, the mean over the tasks; and one value per task that has samples: the share of its samples
        whose class is the largest output among the task's own. A class of two tasks counts in both.

    Raises:
        UsageError: for other shapes, or samples that are in no task.
    """
    if outputs.shape[1:] != (len(space),):
        raise UsageError(f"outputs {list(outputs.shape)} are not of the {len(space)} joint classes")
    found: dict[str, float] = {}
    for part in space.parts:
        rows = space.to_own(part, labels) >= 0
        if rows.any():
            right = metrics.accuracy(space.within(part, outputs[rows]), labels[rows])
            found[part] = float(right.double().mean())
    if not found:
        raise UsageError("no sample belongs to a task of the label space")
    joint = float(metrics.accuracy(outputs, labels).double().mean())
    return {"joint": joint, "task": sum(found.values()) / len(found), **found}
