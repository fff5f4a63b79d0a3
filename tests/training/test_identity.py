"""A run folder is gone on with by the same run only."""

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import StepLR

from mentorch import Edge, Graph, RunError, fit, freeze, gates
from mentorch.data import Batches, Flip, Normalize, Split
from mentorch.losses import kd
from mentorch.training import Plateau
from mentorch.training._identity import check_same, describe_data


def split(seed: int = 0, shift: int = 0) -> Split:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 200, (24, 1, 4, 4), generator=generator, dtype=torch.uint8)
    images[3, 0, 1, 1] += shift
    return Split(images, torch.arange(24) % 3, torch.arange(24))


def graph(temperature: float = 4.0, mean: float = 0.5) -> Graph:
    torch.manual_seed(0)
    nodes = {name: nn.Sequential(nn.Flatten(), nn.Linear(16, 3)) for name in ("teacher", "student")}
    freeze(nodes["teacher"])
    edges = [
        Edge("labels", "student", F.cross_entropy),
        Edge("teacher", "student", functools.partial(kd, temperature=temperature)),
    ]
    return Graph(nodes, edges, views={"teacher": Normalize([mean], [1.0])})


def usual() -> dict[str, Any]:
    return {
        "graph": graph(),
        "train": Batches(split(), 8, shuffle=True),
        "validation": Batches(split(1), 24),
        "optimizer": functools.partial(SGD, lr=0.1, momentum=0.9),
        "schedule": [gates.Cosine(), Plateau()],
        "epochs": 2,
        "tensorboard": False,
    }


def scheduled(gamma: float) -> dict[str, Any]:
    made = graph()
    optimizer = SGD(made.parameters(), lr=0.1)
    return {"graph": made, "optimizer": optimizer, "schedule": StepLR(optimizer, 1, gamma)}


class Times(nn.Module):
    """Does not print its factor."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, student: Tensor, *teachers: Tensor) -> Tensor:
        return student.square().mean() * self.factor

    def seen(self, images: Tensor) -> Tensor:
        return images.float() * self.factor


class Weighted:
    def __init__(self, factor: float) -> None:
        self.factor = factor

    def loss(self, student: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(student, labels) * self.factor


ODD: dict[str, tuple[str, Callable[[float], Graph]]] = {
    "a method": ("edges 1", lambda factor: supervised(Weighted(factor).loss)),
    "a module": ("edges 1", lambda factor: supervised(Times(factor))),
    "a lambda": ("edges 1", lambda factor: supervised(lambda s, t: F.cross_entropy(s, t) * factor)),
    "an adapter": ("edges 1", lambda factor: supervised(F.cross_entropy, adapter=functools.partial(torch.mul, factor))),
    "a view": ("views.student", lambda factor: supervised(F.cross_entropy, view=Times(factor).seen)),
    "a view's state": ("views.student", lambda f: supervised(F.cross_entropy, view=Normalize([f], [1.0]).forward)),
}


def supervised(loss: Any, view: Any = None, **options: Any) -> Graph:
    torch.manual_seed(0)
    nodes = {"student": nn.Sequential(nn.Flatten(), nn.Linear(16, 3))}
    edge = Edge("labels", "student", loss, **options)
    return Graph(nodes, [edge], views={} if view is None else {"student": view})


@pytest.mark.parametrize("what", ODD)
def test_what_does_not_print_its_options_is_known_by_them(what: str, tmp_path: Path) -> None:
    name, make = ODD[what]
    fit(**{**usual(), "graph": make(1.0)}, run=tmp_path)
    fit(**{**usual(), "graph": make(1.0)}, run=tmp_path, resume=True)
    with pytest.raises(RunError, match=rf"holds another run: {name} is .* there and .* here"):
        fit(**{**usual(), "graph": make(100.0)}, run=tmp_path, resume=True)


def lowered() -> dict[str, Any]:
    made = graph()
    freeze(made.nodes["teacher"], precision=torch.bfloat16)
    return {"graph": made}


CHANGES: dict[str, Callable[[], dict[str, Any]]] = {
    "precision of frozen.teacher": lowered,
    "train.samples": lambda: {"train": Batches(split(shift=1), 8, shuffle=True)},
    "train.batch_size": lambda: {"train": Batches(split(), 10, shuffle=True)},
    "train.order.seed": lambda: {"train": Batches(split(), 8, shuffle=True, seed=1)},
    "train.order.shuffle": lambda: {"train": Batches(split(), 8)},
    "train.augment": lambda: {"train": Batches(split(), 8, shuffle=True, augment=Flip())},
    "train.views.number": lambda: {"train": Batches(split(), 8, shuffle=True, views=2)},
    "validation.samples": lambda: {"validation": Batches(split(2), 24)},
    "optimizers.all.groups 1.lr": lambda: {"optimizer": functools.partial(SGD, lr=0.2, momentum=0.9)},
    "optimizers.all.groups 1.weight_decay": lambda: {
        "optimizer": functools.partial(SGD, lr=0.1, momentum=0.9, weight_decay=0.1)
    },
    "optimizers.all.kind": lambda: {"optimizer": functools.partial(Adam, lr=0.1)},
    "schedules.all 1": lambda: {"schedule": [gates.Linear(1.0, 0.0), Plateau()]},
    "schedules.all 2": lambda: {"schedule": [gates.Cosine(), Plateau(patience=3)]},
    "edges 2": lambda: {"graph": graph(temperature=2.0)},
    "views.teacher": lambda: {"graph": graph(mean=0.4)},
    "clip_norm": lambda: {"clip_norm": 1.0},
    "precision": lambda: {"precision": "bf16-mixed"},
    "epochs": lambda: {"epochs": 3},
}


@pytest.mark.parametrize("what", CHANGES)
def test_another_run_is_refused_by_name(what: str, tmp_path: Path) -> None:
    fit(**usual(), run=tmp_path)
    # 24 samples in batches of 8 and of 10 are three batches: their number alone would not tell
    with pytest.raises(RunError, match=rf"holds another run: {re.escape(what)}.* is .* there and .* here"):
        fit(**{**usual(), **CHANGES[what]()}, run=tmp_path, resume=True)


def test_the_same_run_made_anew_is_not_refused(tmp_path: Path) -> None:
    first = fit(**usual(), run=tmp_path)
    assert fit(**usual(), run=tmp_path, resume=True).records == first.records


def test_what_changes_no_number_may_change(tmp_path: Path) -> None:
    fit(**usual(), run=tmp_path)
    fit(**usual(), run=tmp_path, resume=True, log_every=1, progress=False, patience=5, select="best", diagnose=1)


def test_the_numbers_of_torch_schedules_count(tmp_path: Path) -> None:
    fit(**{**usual(), **scheduled(0.5)}, run=tmp_path)
    fit(**{**usual(), **scheduled(0.5)}, run=tmp_path, resume=True)
    with pytest.raises(RunError, match=r"holds another run: schedules\.all 1 is .StepLR"):
        fit(**{**usual(), **scheduled(0.1)}, run=tmp_path, resume=True)


def test_loaders_are_known_by_their_division() -> None:
    rows = list(split().images)
    first, second = (torch.utils.data.DataLoader(rows, size) for size in (6, 8))
    assert describe_data(first)["batch_size"] == 6
    assert describe_data(first) != describe_data(second)
    assert describe_data(first, world=2)["batch_size"] == 12
    assert describe_data(None) == {}


def test_two_processes_with_half_the_batch_are_one_with_the_whole() -> None:
    assert describe_data(Batches(split(), 4), 2) == describe_data(Batches(split(), 8))


def test_of_long_texts_the_part_that_differs_is_shown() -> None:
    one, other = (f"labels -> student{' ' * 200}factor={factor}{' ' * 200}" for factor in (1.5, 100.5))
    with pytest.raises(
        RunError, match=r"^here holds another run: a is 'labels -> .* factor=1\.5 +\.\.\. there and"
    ) as caught:
        check_same({"a": one}, {"a": other}, "here")
    assert "factor=100.5" in str(caught.value)
    assert len(str(caught.value)) < 200


def test_a_difference_is_named_with_both_values() -> None:
    with pytest.raises(RunError, match=r"^here holds another run: a\.b 2 is 2 there and 'nothing' here$"):
        check_same({"a": {"b": [1, 2]}, "c": 1}, {"a": {"b": [1]}, "c": 1}, "here")
