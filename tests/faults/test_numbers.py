"""NaN and infinity at every edge: the edge is named, no bad number reaches a checkpoint, and nothing before is lost."""

import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mentorch import On, RunError
from mentorch.losses import hint, kd, pkt
from mentorch.training import _checkpoint

from .runs import data, equal, graph, train

LOSSES: dict[str, Callable[..., Tensor]] = {"ce": F.cross_entropy, "kd": kd, "hint": hint, "pkt": pkt}
VALUES = (math.nan, math.inf, -math.inf)
AT = 7
"""The step at which a number goes bad, the third of the second epoch."""


def spoiled(
    loss: Callable[..., Tensor], value: float, spoil: Callable[[Tensor, float], Tensor]
) -> Callable[..., Tensor]:
    calls = iter(range(-1, 1000))  # the graph is tried once when it is made

    @functools.wraps(loss)
    def wrapped(*args: Any) -> Tensor:
        return spoil(loss(*args), value) if next(calls) == AT - 1 else loss(*args)

    return wrapped


def in_the_value(loss: Tensor, value: float) -> Tensor:
    return loss * value


class Backward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, value: float) -> Tensor:
        ctx.value = value
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * ctx.value, None


def in_the_gradient(loss: Tensor, value: float) -> Tensor:
    return Backward.apply(loss, value)


def finite(folder: Path) -> bool:
    tensors: dict[str, Tensor] = {}
    _checkpoint.pack(_checkpoint.load(folder), tensors)
    return all(bool(tensor.isfinite().all()) for tensor in tensors.values())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    return train(graph(), tmp_path_factory.mktemp("whole"))


def ends_and_goes_on(run: Path, whole: dict[str, Tensor], named: str, **spoilt: Any) -> None:
    with pytest.raises(
        RunError, match=rf"{named}.* became NaN or infinite in epoch 2.*checkpoint of step [46]"
    ) as caught:
        train(spoilt.pop("made", None) or graph(), run, **spoilt)
    assert "\n" not in str(caught.value)
    assert finite(run / "checkpoints")
    assert equal(train(graph(), run), whole)


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("spoil", [in_the_value, in_the_gradient])
@pytest.mark.parametrize("edge", LOSSES)
def test_a_loss_that_goes_bad(
    edge: str, spoil: Any, value: float, whole: dict[str, Tensor], tmp_path: Path, count: Callable[..., None]
) -> None:
    made = graph(**{edge: spoiled(LOSSES[edge], value, spoil)})
    named = f"the loss of edge .*'{edge}'" if spoil is in_the_value else ""
    ends_and_goes_on(tmp_path, whole, named, made=made)
    count(bad_numbers=1)


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("where", ["inputs", "teacher", "student"])
def test_what_goes_in_goes_bad(
    where: str, value: float, whole: dict[str, Tensor], tmp_path: Path, count: Callable[..., None]
) -> None:
    made, batches = graph(), data()
    layer = None if where == "inputs" else made.nodes[where][3]
    calls = iter(range(1, 1000))

    class Data(list):
        def __iter__(self) -> Any:
            for inputs, labels in list.__iter__(self):
                bad = where == "inputs" and next(calls) == AT + 1  # the first batch is also looked at beforehand
                yield (inputs.index_fill(0, torch.tensor([0]), value) if bad else inputs), labels

    def show(_: Any, __: Any, out: Tensor) -> Tensor:
        return out.index_fill(0, torch.tensor([0]), value) if next(calls) == AT + 1 else out

    if layer is not None:
        layer.register_forward_hook(show)
    ends_and_goes_on(tmp_path, whole, "", made=made, train=Data(batches))
    count(bad_numbers=1)


@pytest.mark.parametrize("value", VALUES)
def test_a_weight_that_goes_bad(
    value: float, whole: dict[str, Tensor], tmp_path: Path, count: Callable[..., None]
) -> None:
    made = graph()

    def spoil(training: Any) -> None:
        if training.step == AT - 2:
            made.nodes["student"][0].weight.data[0, 0] = value

    ends_and_goes_on(tmp_path, whole, "", made=made, callbacks=(On("step", spoil),))
    count(bad_numbers=1)
