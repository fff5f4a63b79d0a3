"""Transformers of timm and convolutional networks teach each other."""

import pytest
import torch

from mentorch import losses, networks
from mentorch.losses import OnMaps
from mentorch.methods import distill

pytest.importorskip("timm")

EXAMPLE = torch.rand(4, 3, 64, 64), torch.tensor([0, 1, 2, 1]), torch.arange(4)
EQUAL_CHANNELS = {"fsp", "svd"}
# a class token; one register and no class token; four registers and no class token
NAMES = ["vit_tiny_patch16_224", "vit_pwee_patch16_reg1_gap_256", "vit_medium_patch16_reg4_gap_256"]


@pytest.mark.parametrize("name", NAMES)
def test_tokens_are_read_as_maps_without_the_leading_ones(name):
    torch.manual_seed(0)
    transformer = networks.build(f"timm:{name}", num_classes=10, image_size=64)
    graph = distill(networks.cnn_small(10), transformer, losses.attention, labels=0.0, example=EXAMPLE)
    assert len(graph.edges) == 2
    assert graph.edges[-1].sources == (f"teacher.{networks.taps(transformer).stages[-1]}",)
    assert all(isinstance(edge.loss, OnMaps) for edge in graph.edges)
    assert all(value.isfinite() for value in graph(EXAMPLE[0], labels=EXAMPLE[1]).values())


@pytest.mark.parametrize("direction", ["vit -> cnn", "cnn -> vit"])
def test_every_loss_works_in_both_directions(direction):
    torch.manual_seed(0)
    for name, info in losses.catalogue().items():
        if not info.teacher or name in EQUAL_CHANNELS:
            continue
        transformer = networks.build("timm:vit_tiny_patch16_224", num_classes=10, image_size=64, options={"depth": 4})
        student, teacher = networks.cnn_small(10), transformer
        if direction == "cnn -> vit":
            student, teacher = teacher, student
        graph = distill(student, teacher, info.function, samples=4, labels=0.0, example=EXAMPLE)
        found = graph(EXAMPLE[0], labels=EXAMPLE[1], index=EXAMPLE[2])
        assert all(value.isfinite() for value in found.values()), name
        sum(found.values()).backward()
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in student.parameters()), name
