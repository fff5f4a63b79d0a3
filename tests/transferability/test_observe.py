import pytest
import torch
from torch import nn

from mentorch._errors import RunError, UsageError
from mentorch.networks import cnn_tiny, state_hash
from mentorch.transferability import observe


def images(count=5):
    return torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def test_features_are_what_enters_the_module_and_the_output_is_the_networks():
    torch.manual_seed(0)
    network = cnn_tiny(4).train()
    found = observe(network, images(), at="fc:in", batch_size=2)
    network.eval()
    with torch.no_grad():
        features = network.avgpool(network.layer2(network.layer1(images()))).flatten(1)
        torch.testing.assert_close(found.features, features)
        torch.testing.assert_close(found.output, network(images()))
    torch.testing.assert_close(found.probabilities, found.output.double().softmax(1))


def test_maps_and_tokens_are_averaged_over_positions():
    torch.manual_seed(0)
    network = cnn_tiny(4).eval()
    maps = network.layer1(images()).detach()
    torch.testing.assert_close(observe(network, images(), at="layer1").features, maps.mean((2, 3)))
    tokens = nn.Sequential(nn.Flatten(2), nn.Identity(), nn.Flatten())  # [N, 3, 256] on the way
    torch.testing.assert_close(observe(tokens, images(), at="1").features, images().flatten(2).mean(1))


def test_bytes_are_images_too():
    network = cnn_tiny(4).eval()
    raw = (images() * 255).byte()
    whole, bytes_ = observe(network, raw / 255.0, at="fc:in"), observe(network, raw, at="fc:in")
    torch.testing.assert_close(whole.output, bytes_.output)


def test_the_network_is_left_as_it_was():
    network = cnn_tiny(4).train()
    network.layer1.eval()
    before = {name: module.training for name, module in network.named_modules()}
    state = state_hash(network)
    observe(network, images(), at="fc:in")
    assert {name: module.training for name, module in network.named_modules()} == before
    assert not network.fc._forward_pre_hooks
    assert all(parameter.grad is None for parameter in network.parameters())
    assert state_hash(network) == state


def test_addresses_that_are_wrong():
    with pytest.raises(UsageError, match="unknown module 'fcc': did you mean 'fc'"):
        observe(cnn_tiny(4), images(), at="fcc:in")
    unused = nn.ModuleDict({"a": nn.Identity(), "b": nn.Identity()})
    unused.forward = lambda x: unused["a"](x).flatten(1)
    with pytest.raises(RunError, match="nothing passed address 'network.b'".replace(".", r"\.")):
        observe(unused, images(), at="b")


def test_outputs_and_features_that_have_no_row_for_each_image():
    class Mean(nn.Module):
        def __init__(self, whole):
            super().__init__()
            self.inner, self.whole = nn.Identity(), whole

        def forward(self, x):
            values = self.inner(x.mean(0) if not self.whole else x)
            return values.mean(0) if self.whole else x.flatten(1)

    with pytest.raises(RunError, match="output for 5 images is"):
        observe(Mean(whole=True), images(), at="inner")
    with pytest.raises(RunError, match=r"address 'inner': 5 images have features \[3, 16, 16\]"):
        observe(Mean(whole=False), images(), at="inner")


def test_only_logits_have_probabilities():
    found = observe(nn.Sequential(nn.Conv2d(3, 2, 1)), images(), at="0")
    with pytest.raises(UsageError, match=r"the output is \[5, 2, 16, 16\]"):
        _ = found.probabilities
