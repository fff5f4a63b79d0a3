"""What every network here promises."""

import pytest
import torch
from torch import nn

from mentorch.networks import build, names, taps

# the blocks of MobileNetV2 end without an activation, on purpose, and those of transformers with a sum
LINEAR_STAGES = {"mobilenet_v2", "vit_nano", "vit_tiny"}


def observe(network, images):
    """Module path -> (calls, first input, output, version of the output when it left the module)."""
    seen = {}

    def hook(path):
        def record(module, inputs, output):
            calls = seen[path][0] + 1 if path in seen else 1
            seen[path] = (calls, inputs[0], output, output._version)

        return record

    handles = [m.register_forward_hook(hook(path)) for path, m in network.named_modules() if path]
    logits = network(images)
    for handle in handles:
        handle.remove()
    return logits, seen


@pytest.mark.parametrize("name", names())
def test_contract(name):
    torch.manual_seed(0)
    network = build(name, num_classes=7, in_channels=2).eval()
    addresses = taps(network)
    logits, seen = observe(network, torch.randn(2, 2, 32, 32))
    assert logits.shape == (2, 7)
    for path in (addresses.stem, *addresses.stages, addresses.embedding.removesuffix(":in")):
        calls, _, output, version = seen[path]
        assert calls == 1
        assert output._version == version, f"{path} is overwritten after it was tapped"
    assert addresses.embedding == "fc:in"
    embedding = seen["fc"][1]
    torch.testing.assert_close(network.fc(embedding), logits)
    maps = [seen[path][2] for path in (addresses.stem, *addresses.stages)]
    sides = [m.shape[-1] for m in maps]
    assert sides == sorted(sides, reverse=True)
    assert len(set(addresses.stages)) == len(addresses.stages)
    if name not in LINEAR_STAGES:
        assert all((m >= 0).all() and (m > 0).any() for m in maps)
    # a shared module would run more often than once and could not be tapped
    assert all(calls == 1 for calls, *_ in seen.values())
    assert not any(getattr(m, "inplace", False) for m in network.modules())


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("size", [(8, 8), (9, 13)])
def test_small_and_odd_images(name, size):
    network = build(name, num_classes=3, in_channels=1)
    with torch.no_grad():
        assert network(torch.randn(2, 1, *size)).shape == (2, 3)


@pytest.mark.parametrize(
    "name",
    [
        "cnn_tiny",
        "resnet8",
        "resnet8_karanchahal",
        "wrn_10_1",
        "vgg8",
        "mobilenet_v2",
        "shufflenet_v1",
        "shufflenet_v2",
        "vit_nano",
    ],
)
def test_every_parameter_learns_and_the_graph_is_whole(name):
    torch.manual_seed(0)
    network = build(name, num_classes=3)
    images, labels = torch.randn(8, 3, 16, 16), torch.arange(8) % 3
    logits = torch.compile(network, backend="eager", fullgraph=True)(images)
    torch.testing.assert_close(logits, network(images))
    nn.functional.cross_entropy(logits, labels).backward()
    for path, parameter in network.named_parameters():
        assert parameter.grad is not None, path
        assert parameter.grad.abs().sum() > 0, path
