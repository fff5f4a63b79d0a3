import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mentorch.methods import supervise


def test_it_is_cross_entropy_with_the_labels_and_nothing_else() -> None:
    network = nn.Linear(4, 3)
    graph = supervise(network)
    inputs, labels = torch.randn(5, 4), torch.tensor([0, 1, 2, 1, 0])
    found = graph(inputs, labels=labels)
    assert list(found) == ["labels -> student: cross_entropy"]
    (loss,) = found.values()
    assert loss.item() == pytest.approx(F.cross_entropy(network(inputs), labels).item(), rel=1e-6)
    assert graph.learning == ("student",)
    assert graph.frozen == ()


def test_loss_and_view_are_used() -> None:
    network, inputs, labels = nn.Linear(4, 4), torch.randn(5, 4), torch.randn(5, 4)
    (loss,) = supervise(network, loss=F.l1_loss, view=lambda x: x + 1)(inputs, labels=labels).values()
    assert loss.item() == pytest.approx(F.l1_loss(network(inputs + 1), labels).item(), rel=1e-6)


def test_an_example_tries_the_graph_at_once() -> None:
    with pytest.raises(Exception, match="cross_entropy"):
        supervise(nn.Linear(4, 3), example=(torch.randn(2, 4), torch.randn(2, 5)))
