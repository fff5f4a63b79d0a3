import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor, nn

from mentorch import RunError
from mentorch.comparison import Neighbours, latency, measure, outputs
from mentorch.data import Dataset, Normalize
from mentorch.networks import cnn_small, cnn_tiny


@pytest.fixture
def network(digits: Dataset) -> nn.Module:
    torch.manual_seed(0)
    made = cnn_tiny(10, 1)
    with torch.no_grad():  # so that batch norm in evaluation differs from training
        made.train()(digits.train.images.float() / 255)
    return made


def whole(network: nn.Module, images: Tensor) -> Tensor:
    modes = [m.training for m in network.modules()]
    network.eval()
    with torch.no_grad():
        found = network(images.float() / 255)
    for module, mode in zip(network.modules(), modes, strict=True):
        module.training = mode
    return found


def test_metrics_are_their_definitions_in_float64(digits: Dataset, network: nn.Module) -> None:
    found = measure(network, digits.test)
    logits, labels = whole(network, digits.test.images).double().numpy(), digits.test.labels.numpy()
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    right = logits.argmax(1) == labels
    assert found["accuracy"] == right.mean()
    truth = p[np.arange(len(labels)), labels]
    assert found["cross_entropy"] == pytest.approx(-np.log(truth).mean(), rel=1e-5)
    assert found["mse"] == pytest.approx(((p - np.eye(10)[labels]) ** 2).mean(), rel=1e-5)
    assert found["mse"] <= 0.2  # the most it can be for ten classes
    top = np.argsort(-logits, 1)[:, :5]
    assert found["top5"] == pytest.approx((top == labels[:, None]).any(1).mean(), abs=1e-9)
    sure, gap = p.max(1), 0.0
    bins = np.minimum((sure * 15).astype(int), 14)
    for b in range(15):
        if (bins == b).any():
            gap += (bins == b).mean() * abs(right[bins == b].mean() - sure[bins == b].mean())
    assert found["ece"] == pytest.approx(gap, abs=1e-5)
    assert set(found) == {"accuracy", "cross_entropy", "mse", "ece", "top5"}


@pytest.mark.parametrize("value", [math.nan, math.inf, 3e38])
def test_a_network_that_diverged_has_no_numbers(digits: Dataset, value: float) -> None:
    class Diverged(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            logits = torch.zeros(len(images), 10)
            logits[:, 0] = value
            logits[:, 1] = -value
            return logits

    with pytest.raises(RunError, match="the network has diverged"):
        measure(Diverged(), digits.test)


def test_agreement_and_divergence_are_with_the_teacher(digits: Dataset, network: nn.Module) -> None:
    torch.manual_seed(1)
    teacher = cnn_small(10, 1).eval()
    theirs, _ = outputs(teacher, digits.test)
    found = measure(network, digits.test, teacher_logits=theirs)
    own = whole(network, digits.test.images)
    assert found["agreement"] == (own.argmax(1) == theirs.argmax(1)).double().mean().item()
    p, q = theirs.double().softmax(1), own.double().log_softmax(1)
    assert found["teacher_kl"] == pytest.approx((p * (p.log() - q)).sum(1).mean().item(), rel=1e-4)
    same = measure(teacher, digits.test, teacher_logits=theirs)
    assert same["agreement"] == 1.0
    assert same["teacher_kl"] == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("k", [1, 5])
def test_knn_is_the_vote_of_the_nearest_in_the_embedding(digits: Dataset, network: nn.Module, k: int) -> None:
    found = measure(network, digits.test, neighbours=Neighbours(digits.train, "fc:in", k))
    body = nn.Sequential(network.layer1, network.layer2, network.avgpool, nn.Flatten())
    known, asked = whole(body, digits.train.images), whole(body, digits.test.images)
    reference = KNeighborsClassifier(k).fit(known.double().numpy(), digits.train.labels.numpy())
    nearest = digits.train.labels.numpy()[reference.kneighbors(asked.double().numpy(), return_distance=False)]
    # ties go to the tied class that comes first, from near to far
    votes = [max(row, key=lambda label, row=row: (row.count(label), -row.index(label))) for row in nearest.tolist()]
    assert found["knn"] == pytest.approx(np.mean(np.array(votes) == digits.test.labels.numpy()), abs=1e-9)


def test_retrieval_ranks_the_training_split_by_cosine(digits: Dataset, network: nn.Module) -> None:
    found = measure(network, digits.test, neighbours=Neighbours(digits.train, "fc:in", k=0, retrieval=True))
    body = nn.Sequential(network.layer1, network.layer2, network.avgpool, nn.Flatten())
    known, asked = (nn.functional.normalize(whole(body, s.images).double()) for s in (digits.train, digits.test))
    order = (asked @ known.T).argsort(1, descending=True)[:, :10]
    hits = digits.train.labels[order] == digits.test.labels[:, None]
    assert found["precision_at_10"] == pytest.approx(hits.double().mean().item(), abs=2e-3)  # ties may fall either way
    assert 0.0 < found["retrieval_map"] <= 1.0
    assert "knn" not in found


def test_latency_is_a_positive_time_and_leaves_the_network_alone(network: nn.Module) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert latency(network, torch.zeros(1, 1, 8, 8), repeats=3) > 0
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_no_number_depends_on_the_batch_size(digits: Dataset, network: nn.Module) -> None:
    teacher_logits, _ = outputs(cnn_small(10, 1), digits.test)
    first, second = (
        measure(
            network,
            digits.test,
            teacher_logits=teacher_logits,
            neighbours=Neighbours(digits.train, "fc:in", 3),
            batch_size=size,
        )
        for size in (7, 1000)
    )
    assert first == pytest.approx(second, abs=1e-6)


def test_a_view_is_looked_through(digits: Dataset, network: nn.Module) -> None:
    view = Normalize(digits.mean, digits.std)
    logits, features = outputs(network, digits.test, view=view, embedding="fc:in")
    images = digits.test.images.float() / 255
    mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in (digits.mean, digits.std))
    assert torch.allclose(logits, whole(network, (images - mean) / std * 255), atol=1e-5)
    assert features is not None
    assert torch.allclose(network.fc(features), logits, atol=1e-5)


def test_the_network_is_left_as_it_was(digits: Dataset, network: nn.Module, hooks) -> None:
    network.train()
    network.layer1.eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    modes = [m.training for m in network.modules()]
    measure(network, digits.test, neighbours=Neighbours(digits.train, "fc:in", 3))
    assert [m.training for m in network.modules()] == modes
    assert hooks(network) == 0
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_hooks_are_gone_after_an_error_too(digits: Dataset, hooks) -> None:
    class Broken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(64, 10)

        def forward(self, images: Tensor) -> Tensor:
            self.fc(images.flatten(1))
            raise RuntimeError("broken")

    network = Broken()
    with pytest.raises(RuntimeError, match="broken"):
        outputs(network, digits.test, embedding="fc:in")
    assert hooks(network) == 0
    assert network.training


def test_few_classes_have_no_top_five(digits: Dataset) -> None:
    keep = (digits.test.labels < 3).nonzero().flatten()
    few = digits.test.select(keep)
    found = measure(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), few)
    assert "top5" not in found
    assert all(math.isfinite(value) for value in found.values())


def test_a_map_is_flattened_for_neighbours(digits: Dataset, network: nn.Module) -> None:
    _, features = outputs(network, digits.test, embedding="layer2")
    assert features is not None
    assert features.shape == (len(digits.test), 8 * 4 * 4)
    assert 0 <= measure(network, digits.test, neighbours=Neighbours(digits.train, "layer2", 3))["knn"] <= 1


def test_order_is_that_of_the_split(digits: Dataset, network: nn.Module) -> None:
    logits, _ = outputs(network, digits.test, batch_size=13)
    flipped = digits.test.select(torch.arange(len(digits.test)).flip(0))
    assert torch.allclose(outputs(network, replace(flipped), batch_size=13)[0].flip(0), logits, atol=1e-6)
