"""What a loss may keep for its backward pass beyond the maps that it is given, counted in maps."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mentorch import losses

N, C, SIDE = 8, 32, 16


def kept(loss: Callable[..., Tensor]) -> float:
    """Storages that are saved for the backward pass and were not there before, over those of the student's map."""
    student, teacher = torch.rand(N, C, SIDE, SIDE, requires_grad=True), torch.rand(N, C, SIDE, SIDE)
    before = {student.untyped_storage().data_ptr(), teacher.untyped_storage().data_ptr()}
    found: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in before:
            found[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        value = loss(student, teacher)  # held until all is counted, so that no storage is used twice
    assert value.grad_fn is not None
    return sum(found.values()) / student.nbytes


@pytest.mark.parametrize(
    ("loss", "most"),
    [
        (losses.hint, 0.0),
        (losses.attention, 1 / 8),  # maps of one channel
        (losses.similarity, 1 / 100),  # samples by samples
        (losses.ab, 1.0),  # the goal
        (losses.nst, 2.5),  # normalised channels of both, and their products
    ],
)
def test_few_maps_are_kept(loss: Callable[..., Tensor], most: float) -> None:
    assert kept(loss) <= most


def test_what_is_kept_is_counted() -> None:
    assert kept(lambda s, t: ((s - t).abs().pow(3) * s.exp()).mean()) >= 3
