import pytest
import torch
from torch import nn

from mentorch import UsageError
from mentorch.networks import build, deeplab, names, resnet8
from mentorch.networks._deeplab import Pyramid

MAPS = [name for name in names() if not name.startswith("vit")]
LARGE = ("resnet110", "resnet44", "resnet56", "wrn_28", "wrn_40", "resnet20_", "resnet26_", "resnet32")


@pytest.mark.parametrize("name", [name for name in MAPS if not name.startswith(LARGE)])
def test_over_every_backbone(name):
    torch.manual_seed(0)
    backbone = build(name, num_classes=10).eval()
    network = deeplab(backbone, 4, rates=(1, 2), width=16).eval()
    images = torch.randn(1, 3, 24, 32)
    assert network(images).shape == (1, 4, 24, 32)
    # the deepest map is the backbone's own, and so are the weights
    seen = []
    last = list(network.encoder[-1].body.children())[-1]
    handle = last.register_forward_hook(lambda module, inputs, output: seen.append(output))
    backbone(images)
    handle.remove()
    assert torch.equal(network.encode(images)[0], seen[0])
    own = {id(p) for p in backbone.parameters()}
    assert all(id(p) in own for p in network.encoder.parameters())


def test_the_backbone_is_left_as_it_was():
    backbone = resnet8(10).train()
    backbone.layer2.eval()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    network = deeplab(backbone, 4)
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())
    assert backbone.layer1.training
    assert not backbone.layer2.training
    assert not any(m._forward_hooks for m in network.modules())


def test_the_pyramid_sees_as_far_as_its_rates():
    pyramid = Pyramid(2, 8, (3,)).eval()
    pyramid.whole = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(2, 8, 1), nn.Threshold(float("inf"), 0.0))
    x = torch.randn(1, 2, 15, 15, requires_grad=True)
    (gradient,) = torch.autograd.grad(pyramid(x)[0, :, 7, 7].sum(), x)
    rows, columns = gradient[0].abs().sum(0).nonzero().unbind(1)
    assert set(rows.tolist()) <= {4, 7, 10}
    assert set(columns.tolist()) <= {4, 7, 10}
    assert len(rows) > 1


def test_backbones_of_other_kinds_are_refused():
    with pytest.raises(UsageError, match="ViT is none"):
        deeplab(build("vit_nano", num_classes=3), 4)
    with pytest.raises(UsageError, match="has no taps"):
        deeplab(nn.Sequential(nn.Conv2d(3, 4, 3)), 4)

    class Twisted(nn.Module):
        """Runs its modules in another order than it has them."""

        def __init__(self) -> None:
            super().__init__()
            inner = resnet8(3)
            self.conv1, self.bn1, self.relu = inner.conv1, inner.bn1, inner.relu
            self.layer1, self.layer2, self.layer3, self.taps = inner.layer1, inner.layer2, inner.layer3, inner.taps

        def forward(self, x):
            return self.layer3(self.layer2(self.layer1(self.conv1(x))))

    with pytest.raises(UsageError, match="Twisted is none"):
        deeplab(Twisted(), 4)
    short = Twisted()
    short.layer2 = short.layer1
    with pytest.raises(UsageError, match="Twisted has no modules of its own called layer2"):
        deeplab(short, 4)
