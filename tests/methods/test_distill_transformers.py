"""Convolutional networks and transformers teach each other, by every loss of the catalogue."""

from functools import partial

import pytest
import torch
from torch import nn

from mentorch import Graph, UsageError, losses, networks
from mentorch.losses import OnMaps, Regressor
from mentorch.methods import distill

EQUAL_CHANNELS = {
    "fsp": "needs maps .* with the same channels on both sides",
    "svd": "channels do not compare: .*vectors='width'",
}
"""What the losses say that compare channel by channel, and so cannot work between networks of other widths."""
NAMES = sorted(name for name, info in losses.catalogue().items() if info.teacher)
EXAMPLE = torch.rand(4, 3, 16, 16), torch.tensor([0, 1, 2, 1]), torch.arange(4)


def pair(direction: str, class_token: bool = False) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    convolutional, transformer = networks.cnn_small(10), networks.vit_nano(10, class_token=class_token)
    return (convolutional, transformer) if direction == "vit -> cnn" else (transformer, convolutional)


def one_step(graph: Graph) -> None:
    images, labels, index = EXAMPLE
    found = graph(images, labels=labels, index=index)
    assert all(value.isfinite() for value in found.values())
    sum(found.values()).backward()
    gradients = [p.grad for p in graph.nodes["student"].parameters() if p.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert any(gradient.abs().sum() > 0 for gradient in gradients)
    assert all(p.grad is None for p in graph.nodes["teacher"].parameters())


@pytest.mark.parametrize("class_token", [False, True], ids=["mean", "class token"])
@pytest.mark.parametrize("direction", ["vit -> cnn", "cnn -> vit"])
@pytest.mark.parametrize("name", NAMES)
def test_every_loss_works_in_both_directions(name: str, direction: str, class_token: bool) -> None:
    info = losses.catalogue()[name]
    draw = partial(distill, *pair(direction, class_token), samples=4, labels=0.0, example=EXAMPLE)
    if name in EQUAL_CHANNELS:
        with pytest.raises(UsageError, match=EQUAL_CHANNELS[name]):
            draw(info.function)
        return
    one_step(draw(info.function))


def test_between_networks_of_equal_channels_the_rest_works_too() -> None:
    transformer = networks.ViT(10, width=16, depth=3, heads=2)
    convolutional = networks.CNN(10, widths=(16, 16, 16))
    one_step(distill(transformer, convolutional, losses.fsp, losses.svd, labels=0.0, example=EXAMPLE))
    one_step(distill(*pair("cnn -> vit"), partial(losses.svd, vectors="width"), labels=0.0, example=EXAMPLE))


def test_stages_of_a_transformer_are_paired_evenly_in_depth() -> None:
    # 16 x 16 positions, 8 x 8 and 4 x 4 against 17 tokens everywhere
    student, teacher = networks.cnn_medium(10), networks.vit_nano(10, class_token=True)
    stages = tuple(f"blocks.{i}" for i in range(6))
    places = {"teacher": networks.Taps("tokens", stages, "fc:in")}
    graph = distill(student, teacher, losses.attention, labels=0.0, places=places, example=EXAMPLE)
    assert [edge.sources for edge in graph.edges] == [
        ("teacher.blocks.1",),
        ("teacher.blocks.3",),
        ("teacher.blocks.5",),
    ]
    assert all(isinstance(edge.loss, OnMaps) for edge in graph.edges)


def test_two_transformers_of_other_patches_and_depths() -> None:
    student, teacher = networks.vit_nano(10, patch=8), networks.ViT(10, width=24, depth=9, heads=3, class_token=True)
    one_step(distill(student, teacher, losses.hint, losses.attention, losses.Review, labels=0.0, example=EXAMPLE))


def test_only_losses_on_maps_are_wrapped_and_only_where_there_are_tokens() -> None:
    chosen = (losses.kd, losses.pkt, losses.OFA, losses.hint, losses.similarity)
    graph = distill(*pair("cnn -> vit"), *chosen, labels=0.0, example=EXAMPLE)
    assert [isinstance(edge.loss, OnMaps) for edge in graph.edges] == [False, False, False, False, True]
    assert [isinstance(edge.adapter, Regressor) for edge in graph.edges] == [False, False, False, True, False]
    plain = distill(networks.cnn_tiny(10), networks.cnn_small(10), losses.attention, labels=0.0, example=EXAMPLE)
    assert [edge.loss for edge in plain.edges] == [losses.attention] * 2


def test_the_compiled_graph_is_one_and_gives_the_same() -> None:
    images, labels, index = EXAMPLE
    graph = distill(*pair("vit -> cnn", True), losses.attention, losses.hint, losses.VID, example=EXAMPLE).eval()
    expected = graph(images, labels=labels, index=index)
    graph.compile(backend="aot_eager")
    torch.testing.assert_close(graph(images, labels=labels, index=index), expected)
