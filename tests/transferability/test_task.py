import pytest
from torch import Tensor, nn

from mentorch import zoo
from mentorch._errors import UsageError
from mentorch.transferability import Frame
from mentorch.transferability._atlas import Task


def test_networks_in_half_precision_are_read_in_single(keep, images: Tensor, tmp_path):
    keep(tmp_path, "a", change=nn.Module.half)
    keep(tmp_path, "b")
    task = Task(Frame.of(images), images)
    half, single = (task(entry) for entry in zoo.entries(tmp_path))
    assert float((half[0] * single[0]).mean()) == pytest.approx(1, abs=2e-2)


def test_a_network_is_left_as_it_was_loaded(keep, images: Tensor, tmp_path):
    keep(tmp_path, "a")
    (entry,) = zoo.entries(tmp_path)
    task = Task(Frame.of(images), images)
    first, again = task(entry), task(entry)
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert [part.shape[0] for part in first] == list(task.frame.sizes)


def test_an_address_that_is_not_there_is_named_with_those_that_are(keep, images: Tensor, tmp_path):
    keep(tmp_path, "a")
    (entry,) = zoo.entries(tmp_path)
    with pytest.raises(UsageError, match=r"unknown module 'layr1': did you mean 'layer1'.* \(known: avgpool, fc"):
        Task(Frame.of(images), images, at="layr1")(entry)
