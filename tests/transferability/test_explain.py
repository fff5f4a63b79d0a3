import functools

import pytest
import torch
from torch import Tensor, nn

from mentorch._errors import RunError, UsageError
from mentorch.transferability import (
    LAYER_SELECTION,
    MODEL_SELECTION,
    Lens,
    Uninformative,
    explain,
    fingerprint,
    gradient_x_input,
    norm,
    saliency,
)


class Network(nn.Module):
    def __init__(self, *, inplace: bool = False):
        super().__init__()
        torch.manual_seed(0)
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=inplace)
        self.conv2 = nn.Conv2d(4, 6, 3, stride=2)
        self.dropout = nn.Dropout(0.5)
        self.fc = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        return self.fc(self.dropout(self.conv2(x).tanh().mean((2, 3))))


@pytest.fixture
def probes() -> Tensor:
    return torch.rand(7, 3, 9, 8, generator=torch.Generator().manual_seed(3))


def test_maps_are_gradients_of_the_scalar_at_the_address(probes: Tensor):
    network = Network().eval()
    x = probes.clone().requires_grad_()
    hidden = network.conv1(x)
    (gradient,) = torch.autograd.grad(hidden.sum(), x)
    reading = explain(network, probes, at="conv1")
    torch.testing.assert_close(reading.maps, (gradient * probes).mean(1))
    torch.testing.assert_close(reading.features, hidden.detach().flatten(1))
    layer = explain(network, probes, LAYER_SELECTION, at="conv1")
    torch.testing.assert_close(layer.maps, (gradient * probes).abs().mean(1) / hidden[0].numel())


def test_addresses_are_the_output_modules_and_their_inputs(probes: Tensor):
    network = Network().eval()
    torch.testing.assert_close(explain(network, probes).features, network(probes).detach())
    assert explain(network, probes, at="fc:in").features.shape == (7, 6)
    torch.testing.assert_close(explain(network, probes, at="fc").features, network(probes).detach())


@pytest.mark.parametrize("lens", [MODEL_SELECTION, Lens(saliency), Lens(scalar=norm)], ids=str)
def test_batches_are_samples(probes: Tensor, lens: Lens):
    whole = explain(Network(), probes, lens)
    for size in (1, 3):
        part = explain(Network(), probes, lens, batch_size=size)
        torch.testing.assert_close(part.maps, whole.maps)
        torch.testing.assert_close(part.features, whole.features)
        assert part.probes == whole.probes


def test_the_network_is_left_as_it_was_found(probes: Tensor):
    network = Network().train()
    network.bn1.eval()
    network.fc.weight.grad = torch.ones_like(network.fc.weight)
    state = {name: value.clone() for name, value in network.state_dict().items()}
    modes = [module.training for module in network.modules()]
    kept = probes.clone()
    explain(network, probes, at="relu")
    with pytest.raises(RunError):
        explain(network, torch.full_like(probes, torch.nan))
    assert [module.training for module in network.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert (network.fc.weight.grad == 1).all()
    assert network.conv1.weight.grad is None
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    assert torch.equal(probes, kept)
    assert not probes.requires_grad


def test_what_works_in_place_later_does_not_change_what_is_read(probes: Tensor):
    plain, inplace = (explain(Network(inplace=inplace), probes, at="bn1") for inplace in (False, True))
    torch.testing.assert_close(plain.features, inplace.features)
    assert (inplace.features < 0).any()
    first = nn.Sequential(nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(216, 3))
    assert explain(first, probes).features.shape == (7, 3)


def test_frozen_networks_and_no_grad_are_fine(probes: Tensor):
    expected = explain(Network(), probes).maps
    with torch.no_grad():
        torch.testing.assert_close(explain(Network().requires_grad_(False), probes).maps, expected)


def test_preprocessing_in_front_keeps_maps_in_the_frame_of_the_probes(probes: Tensor):
    class Flip(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flip(1)

    network = Network()
    other = Network()
    with torch.no_grad():
        other.conv1.weight.copy_(other.conv1.weight.flip(1))  # a BGR twin
    torch.testing.assert_close(explain(nn.Sequential(Flip(), other), probes).maps, explain(network, probes).maps)
    small = nn.Sequential(nn.AdaptiveAvgPool2d(4), network)
    assert explain(small, probes).maps.shape == (7, 9, 8)


def test_methods_of_captum_fit(probes: Tensor):
    captum = pytest.importorskip("captum.attr")

    def captum_gradient(score: nn.Module, x: Tensor) -> Tensor:
        return captum.InputXGradient(score).attribute(x.requires_grad_())

    def integrated(score: nn.Module, x: Tensor) -> Tensor:
        return captum.IntegratedGradients(score).attribute(x, n_steps=8).float()

    reading = explain(Network(), probes, Lens(captum_gradient), at="conv2")
    torch.testing.assert_close(reading.maps, explain(Network(), probes, at="conv2").maps)
    integral = explain(Network(), probes, Lens(integrated))
    assert integral.features.shape == (7, 5)
    assert integral.lens.startswith("integrated of total")


def test_networks_that_say_nothing_are_errors(probes: Tensor):
    class Same(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.ones(len(x), 3)

    class Steps(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x.flatten(1) > 0.5).float()

    with pytest.raises(RunError, match="features of the output are the same for all probes"):
        explain(Same(), probes)
    with pytest.raises(RunError, match="all attributions are zero"):
        explain(Steps(), probes)
    with pytest.raises(RunError, match="features of the output: not finite for 7 of 7"):
        explain(nn.Sequential(nn.Flatten(), nn.Linear(216, 2), nn.Hardtanh(), _Divide()), probes)
    dark = probes.clone()
    dark[2] = 0
    with pytest.warns(Uninformative, match="zero for 1 of 7 probes"):
        explain(Network(), dark)


class _Divide(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x / 0


def test_addresses_that_do_not_exist_are_named(probes: Tensor):
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.relu, self.lstm = nn.ReLU(), nn.LSTM(216, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.lstm(self.relu(self.relu(x)).flatten(1))[0]

    with pytest.raises(UsageError, match="unknown module 'conv3': did you mean"):
        explain(Network(), probes, at="conv3")
    with pytest.raises(UsageError, match="address 'fc:out' is not"):
        explain(Network(), probes, at="fc:out")
    with pytest.raises(RunError, match="address 'relu' is passed 2 times"):
        explain(Twice(), probes, at="relu")
    with pytest.raises(RunError, match="address 'lstm' is not a tensor but a tuple"):
        explain(Twice(), probes, at="lstm")
    with pytest.raises(RunError, match="the output of the network is not a tensor but a tuple"):
        explain(nn.Sequential(nn.Flatten(), nn.LSTM(216, 4)), probes)
    with pytest.raises(UsageError, match="2 probes or more, got 1"):
        explain(Network(), probes[:1])


def test_fingerprints_tell_values_and_shapes():
    x = torch.arange(12.0)
    prints = {fingerprint(t) for t in (x, x.view(3, 4), x.view(4, 3), x.flip(0), x + 1e-6)}
    assert len(prints) == 5
    assert fingerprint(x.double()) == fingerprint(x)
    assert fingerprint(x.view(3, 4).mT) == fingerprint(x.view(3, 4).mT.contiguous())


def test_rules_with_options(probes: Tensor):
    def scaled(score: nn.Module, x: Tensor, *, by: float) -> Tensor:
        return by * gradient_x_input(score, x)

    reading = explain(Network(), probes, Lens(functools.partial(scaled, by=2.0)))
    torch.testing.assert_close(reading.maps, 2 * explain(Network(), probes).maps)


def test_where_no_gradients_are_wanted_it_takes_its_own(probes: Tensor) -> None:
    network = Network().eval()
    plain, rule = explain(network, probes), saliency(lambda x: x.square().sum(1), torch.ones(2, 3))
    for without in (torch.no_grad, torch.inference_mode):
        with without():
            found = explain(network, probes.clone())
            assert torch.equal(saliency(lambda x: x.square().sum(1), torch.ones(2, 3)), rule)
        assert torch.equal(found.maps, plain.maps)
        assert torch.equal(found.features, plain.features)


def test_integers_have_no_gradient(probes: Tensor) -> None:
    with pytest.raises(UsageError, match=r"needs probes in floating point, .* got torch\.uint8"):
        explain(Network(), (255 * probes).byte())
