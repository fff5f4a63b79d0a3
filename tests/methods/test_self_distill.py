from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import mentorch
from mentorch import UsageError, networks
from mentorch.methods import self_distill
from mentorch.networks import Taps

BATCH = torch.rand(4, 3, 16, 16), torch.tensor([0, 1, 2, 1])


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def test_the_losses_are_those_of_the_formula() -> None:
    student = networks.cnn_medium(10)
    graph = self_distill(student, alpha=0.3, temperature=2.0, features=0.05, example=BATCH).eval()
    images, labels = BATCH
    found = graph(images, labels=labels)
    maps = [student.layer1(images)]
    maps += [student.layer2(maps[-1])]
    embedding = student.layer3(maps[-1]).mean((2, 3))
    output = student.fc(embedding)
    assert len(found) == 7
    torch.testing.assert_close(found["labels -> student: cross_entropy"], 0.7 * F.cross_entropy(output, labels))
    for i, features in enumerate(maps, start=1):
        head = graph.edges[i].loss
        own = head.bottleneck(features).mean((2, 3))
        logits = head.classifier(own)
        name = f"student, student.fc:in, labels -> student.layer{i}: Head"
        soft = (output / 2).softmax(1)
        kl = (soft * (soft.log() - (logits / 2).log_softmax(1))).sum(1).mean() * 4
        torch.testing.assert_close(found[f"{name}/labels"], 0.7 * F.cross_entropy(logits, labels))
        torch.testing.assert_close(found[f"{name}/output"], 0.3 * kl)
        torch.testing.assert_close(found[f"{name}/features"], 0.05 * (own - embedding).square().sum(1).mean())


def test_heads_have_the_released_layers() -> None:
    graph = self_distill(networks.resnet18(10), example=(torch.rand(2, 3, 32, 32), torch.tensor([0, 1])))
    layers = [[m for m in edge.loss.bottleneck if isinstance(m, nn.Conv2d)] for edge in graph.edges[1:]]
    assert [[tuple(m.weight.shape) for m in found] for found in layers] == [
        [(128, 64, 1, 1), (128, 128, 8, 8), (512, 128, 1, 1)],
        [(128, 128, 1, 1), (128, 128, 4, 4), (512, 128, 1, 1)],
        [(128, 256, 1, 1), (128, 128, 2, 2), (512, 128, 1, 1)],
    ]
    assert [m.stride for m in (found[1] for found in layers)] == [(8, 8), (4, 4), (2, 2)]


def test_heads_teach_early_stages_only_and_output_and_embedding_are_left_alone() -> None:
    student = networks.cnn_medium(10)
    graph = self_distill(student, alpha=1.0, example=BATCH)
    images, labels = BATCH
    sum(graph(images, labels=labels).values()).backward()
    assert all(p.grad is None for part in (student.layer3, student.fc) for p in part.parameters())
    assert all(p.grad is not None for part in (student.layer1, student.layer2) for p in part.parameters())
    heads = [edge.loss for edge in graph.edges]
    assert all(p.grad is not None for head in heads for p in head.parameters())
    assert not any("classifier" in name for name, _ in student.named_parameters())


@pytest.mark.parametrize("build", [networks.vit_nano, partial(networks.vit_nano, class_token=True), networks.vgg8])
def test_it_trains_any_network_in_stages(build) -> None:
    graph = self_distill(build(10), example=BATCH)
    optimizer = partial(torch.optim.SGD, lr=0.01)
    history = mentorch.fit(graph, [BATCH], optimizer=optimizer, epochs=8, device="cpu", progress=False)
    values = history.column("train.loss")
    assert values[-1] < values[0]


def test_vectors_are_stages_too() -> None:
    student = nn.Sequential(nn.Flatten(), nn.Linear(768, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    graph = self_distill(student, places=Taps("0", ("2", "4"), "5:in"), example=BATCH)
    assert all(value.isfinite() for value in graph(BATCH[0], labels=BATCH[1]).values())


def test_it_compiles_into_one_graph() -> None:
    graph = self_distill(networks.cnn_small(10), example=BATCH).eval()
    expected = graph(BATCH[0], labels=BATCH[1])
    graph.compile(backend="aot_eager")
    torch.testing.assert_close(graph(BATCH[0], labels=BATCH[1]), expected)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"alpha": 1.5}, "alpha is a share between 0 and 1, not 1.5"),
        ({"places": Taps("layer1", ("layer1",), "fc:in")}, "stages before the last, and there are 1"),
    ],
)
def test_what_cannot_be_drawn_is_said(options, complaint) -> None:
    with pytest.raises(UsageError, match=complaint):
        self_distill(networks.cnn_small(10), **options)
