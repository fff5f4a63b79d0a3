import copy

import torch
from torch import nn

from mentorch.training._weights import all_finite, copied, fill, part, sharded, update_average, whole


def test_what_is_not_finite_is_found() -> None:
    assert all_finite([])
    assert all_finite([torch.ones(2), torch.zeros(3)])
    for value in (float("nan"), float("inf")):
        assert not all_finite([torch.ones(2), torch.tensor([0.0, value])])


def test_an_average_moves_towards_the_weights_and_takes_the_buffers() -> None:
    node = nn.BatchNorm1d(2)
    average = copy.deepcopy(node)
    with torch.no_grad():
        node.weight.fill_(3.0)
        node.running_mean.fill_(5.0)
    update_average(average, node, 0.75)
    assert average.weight.tolist() == [1.5, 1.5]
    assert average.running_mean.tolist() == [5.0, 5.0]


def test_copies_are_independent_and_can_be_put_back() -> None:
    node = nn.Linear(2, 2)
    before = copied(node)
    kept = {name: tensor.clone() for name, tensor in before.items()}
    with torch.no_grad():
        node.weight.zero_()
    assert all(torch.equal(before[name], kept[name]) for name in kept)
    fill(node, before)
    assert torch.equal(node.weight, kept["weight"])


def test_whole_tensors_stay_as_they_are() -> None:
    tensor = torch.ones(2)
    assert whole({"a": [tensor, 1]})["a"][0] is tensor
    assert part(tensor, torch.zeros(2)) is tensor
    assert not sharded(nn.Linear(1, 1))
