"""A whole task branching in small: amalgamation.md, section 13, point 9."""

import copy
import functools

import pytest
import torch

from mentorch import Edge, Graph, fit, gates, losses, metrics
from mentorch.data import Batches, Normalize, dense
from mentorch.methods import branch
from mentorch.networks import cost, segnet

OUTPUTS = {"segmentation": 7, "depth": 1, "normals": 3}
FROM_LABELS = {
    "segmentation": functools.partial(losses.cross_entropy, ignore_index=dense.IGNORE),
    "depth": losses.depth_l1,
    "normals": losses.normal_cosine,
}
FROM_TEACHERS = {
    "segmentation": functools.partial(losses.pixel_kd, hard=True),
    "depth": losses.depth_l1,
    "normals": losses.normal_cosine,
}
adam = functools.partial(torch.optim.Adam, lr=5e-3)


def measured(said, targets):
    """Pixel accuracy, mean absolute error of depth, mean angle of normals."""
    found = {}
    for task, metric, name in (
        ("segmentation", metrics.segmentation(7), "pixel_accuracy"),
        ("depth", metrics.depth(), "mae"),
        ("normals", metrics.normals(), "mean"),
    ):
        metric.update(said[task], targets[task])
        found[task] = getattr(metric.compute(), name)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["paper", "random_path"])
def test_a_student_without_labels_is_better_than_any_constant_answer_at_all_tasks(variant):
    data = dense.scenes((16, 24), train=160, validation=16, test=40)
    view = Normalize(data.mean, data.std)
    batches = Batches(data.train, 16, shuffle=True)
    learn = functools.partial(
        fit, train=batches, optimizer=adam, schedule=gates.Cosine(1.0, 0.0), progress=False, tensorboard=False
    )
    torch.manual_seed(0)
    teachers = {task: segnet(k, widths=(12, 16, 24), depths=(1, 1, 1)) for task, k in OUTPUTS.items()}
    for task, net in teachers.items():
        learn(Graph({task: net}, [Edge(f"labels.{task}", task, FROM_LABELS[task])], views={task: view}), epochs=15)
    *_, last = branch(
        teachers,
        copy.deepcopy(teachers["segmentation"]),
        {"search": functools.partial(learn, epochs=4), "together": functools.partial(learn, epochs=10)},
        FROM_TEACHERS,
        validation=Batches(data.validation, 8),
        variant=variant,
        views=dict.fromkeys((*teachers, "student"), view),
    )
    images, targets = next(iter(Batches(data.test, 40)))[:2]
    with torch.no_grad():
        student = measured(last.network.eval()(view(images)), targets)
    train = data.train.targets
    constant = {
        "segmentation": train["segmentation"].flatten().mode().values.long().expand(targets["segmentation"].shape),
        "depth": train["depth"].median().expand(targets["depth"].shape),
        "normals": train["normals"].mean((0, 2, 3)).view(1, 3, 1, 1).expand(targets["normals"].shape),
    }
    chance = measured(constant, targets)
    assert student["segmentation"] > chance["segmentation"] + 0.05
    assert student["depth"] < 0.9 * chance["depth"]
    assert student["normals"] < 0.8 * chance["normals"]
    one = images[:1]
    assert cost(last.network, one).parameters < sum(cost(net, one).parameters for net in teachers.values())
