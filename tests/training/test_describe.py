"""What decides a result is in the words for it, and nothing that differs between processes."""

import functools
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mentorch import freeze, gates
from mentorch.losses import CRD, kd
from mentorch.training._describe import described


class Scale(nn.Module):
    """Does not print its factor."""

    def __init__(self, factor: Any) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor

    def seen(self, x: Tensor) -> Tensor:
        return self(x)


class Plain:
    def __init__(self, factor: Any) -> None:
        self.factor = factor

    def __call__(self, x: Tensor) -> Tensor:
        return x * self.factor

    def seen(self, x: Tensor) -> Tensor:
        return self(x)


@dataclass(frozen=True)
class Held:
    factor: Any


def closed(factor: float) -> Callable[[Tensor], Tensor]:
    return lambda x: x * factor


PAIRS: dict[str, Callable[[float], Any]] = {
    "a module": Scale,
    "a part of a module": lambda f: nn.Sequential(nn.ReLU(), Scale(f)),
    "a frozen module": lambda f: freeze(Scale(f), precision=torch.bfloat16),
    "a method": lambda f: Plain(f).seen,
    "a module's method": lambda f: Scale(f).seen,
    "an object": Plain,
    "an option": lambda f: functools.partial(F.mse_loss, weight=f),
    "an option's method": lambda f: functools.partial(Plain(f).seen),
    "a lambda": closed,
    "a tuple": lambda f: Scale((f, "a")),
    "a mapping": lambda f: Scale({"a": [f]}),
    "a tensor": lambda f: Scale(torch.tensor([f])),
    "a dataclass with a tensor": lambda f: Held(torch.full((5000,), f)),
    "an array": lambda f: Held(np.append(np.zeros(5000), f)[1000:].repeat(2)),
    "a function": lambda f: Scale(torch.relu if f == 1 else torch.tanh),
}


@pytest.mark.parametrize("what", PAIRS)
def test_what_decides_is_in_the_words(what: str) -> None:
    assert described(PAIRS[what](1.0)) == described(PAIRS[what](1.0))
    assert described(PAIRS[what](1.0)) != described(PAIRS[what](1.00001))
    assert " at 0x" not in described(PAIRS[what](1.0))


def test_lambdas_differ_by_what_they_do() -> None:
    assert described(lambda x: x * 5) != described(lambda x: x * 6)
    assert described(lambda x: x.sin()) != described(lambda x: x.cos())
    assert described(lambda x: x * 5) == described(lambda x: x * 5)


def test_what_prints_itself_is_printed() -> None:
    things = [None, 1, 0.1, "a", (1,), [1, "a"], {"a": (1, 2)}, gates.Cosine(), gates.Linear(0, 1), torch.float16]
    assert [described(thing) for thing in things] == [repr(thing) for thing in things]
    assert described(functools.partial(kd, temperature=2.0)) == "kd(temperature=2.0)"
    assert described(kd) == "kd"


def test_what_was_learned_is_not_in_the_words() -> None:
    def parts() -> list[nn.Module]:
        student, teacher = torch.randn(2, 4), torch.randn(2, 5)
        crd = CRD(samples=4, negatives=2).build(student, teacher, torch.tensor([0, 1]), torch.tensor([0, 1]))
        return [crd, nn.LSTM(2, 2), nn.BatchNorm1d(2), nn.utils.spectral_norm(nn.Linear(2, 2))]

    assert list(map(described, parts())) == list(map(described, parts()))


def test_what_refers_to_itself_ends() -> None:
    thing = Plain(1)
    thing.factor = [thing, SimpleNamespace()]
    assert described(thing) == "Plain(factor=[Plain, namespace()])"


PRINTS = """
from mentorch.training._describe import described

print(described({"a", "b", "c", "d"}), described(lambda x: [y for y in x if y in {"a", "b", "c", "d"}]))
"""


def test_words_are_the_same_in_every_process() -> None:
    told = set()
    for seed in "123":
        command = [sys.executable, "-c", PRINTS]
        ran = subprocess.run(
            command, env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        )
        told.add(ran.stdout)
    assert len(told) == 1
    assert "{'a', 'b', 'c', 'd'}" in told.pop()
