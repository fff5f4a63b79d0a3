"""``_amalgamate``: two small problems from end to end, without a label for the student."""

import functools

import pytest
import torch
from torch import Tensor, nn

from mentorch import fit, losses, networks
from mentorch.data import LabelSpace
from mentorch.methods import JointEnsemble, accuracy_by_task, amalgamate, layerwise, recombine, supervise

SPACE = LabelSpace.union({"a": "uvwxy", "b": "pqrst"})
TEMPLATES = torch.rand(10, 3, 8, 8, generator=torch.Generator().manual_seed(1))
train = functools.partial(
    fit, optimizer=functools.partial(torch.optim.Adam, lr=0.01), epochs=12, progress=False, tensorboard=False
)


def images(count: int, seed: int) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 10
    return TEMPLATES[labels] + 0.25 * torch.randn(count, 3, 8, 8, generator=draw), labels


@pytest.fixture(scope="module")
def teachers() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    inputs, labels = images(300, seed=2)
    found: dict[str, nn.Module] = {}
    for name in SPACE.parts:
        own = SPACE.to_own(name, labels)
        x, y = inputs[own >= 0], own[own >= 0]
        found[name] = networks.cnn_small(5)
        train(supervise(found[name]), [(x[i::3], y[i::3]) for i in range(3)])
    return found


def unlabelled() -> list[Tensor]:
    return list(images(300, seed=3)[0].split(50))


def judged(network: nn.Module) -> dict[str, float]:
    inputs, labels = images(200, seed=4)
    with torch.no_grad():
        return accuracy_by_task(SPACE, network.eval()(inputs), labels)


def in_one_stage(teachers: dict[str, nn.Module], *features) -> nn.Module:
    student = networks.cnn_small(10)
    train(amalgamate(teachers, student, *features, space=SPACE), unlabelled())
    return student


def in_three_stages(teachers: dict[str, nn.Module]) -> nn.Module:
    student = networks.cnn_small(10)
    for _ in layerwise(teachers, student, unlabelled(), train, space=SPACE, codes="pca"):
        pass
    return student


def in_rounds(teachers: dict[str, nn.Module]) -> nn.Module:
    *_, last = recombine(teachers, unlabelled(), train, space=SPACE, keep=0.5, rounds=1)
    return last.network


@pytest.mark.parametrize("way", ["kd", "cfl", "joint", "layerwise", "recombine"])
def test_a_student_does_both_tasks_far_better_than_chance(teachers: dict[str, nn.Module], way: str):
    torch.manual_seed(0)
    features = {
        "kd": (),
        "cfl": (functools.partial(losses.CommonFeatures, variant="kamal"),),
        "joint": (losses.Layerwise,),
    }
    if way in features:
        student = in_one_stage(teachers, *features[way])
    else:
        student = {"layerwise": in_three_stages, "recombine": in_rounds}[way](teachers)
    found, best = judged(student), judged(JointEnsemble(teachers, SPACE))
    assert min(found["a"], found["b"]) > 0.6  # chance is 0.2
    assert found["joint"] > 0.35  # chance is 0.1
    assert best["task"] > 0.8
