"""The field's standard small networks, and ways to build, load, measure and identify any network.

Every network here maps images `[N, C, H, W]` of any number of channels and any size from 8x8 upward to logits `[N, K]`,
and says in its attribute `taps` where its features are read.
"""

from mentorch.networks._branched import Branched, branched
from mentorch.networks._build import build, dense_names, names
from mentorch.networks._cnn import CNN, cnn_medium, cnn_small, cnn_tiny
from mentorch.networks._cost import Cost, cost
from mentorch.networks._deeplab import deeplab
from mentorch.networks._dense import EncoderDecoder
from mentorch.networks._embedding import embedding
from mentorch.networks._hash import hash_tensors, state_hash
from mentorch.networks._mobilenet import MobileNetV2, mobilenet_v2
from mentorch.networks._resnet import (
    BasicBlock,
    Bottleneck,
    ResNet,
    resnet,
    resnet8,
    resnet8x4,
    resnet14,
    resnet18,
    resnet20,
    resnet32,
    resnet32x4,
    resnet34,
    resnet44,
    resnet50,
    resnet56,
    resnet110,
    resnet_karanchahal,
)
from mentorch.networks._segnet import segnet, segnet_tiny
from mentorch.networks._shufflenet_v1 import ShuffleNetV1, shufflenet_v1
from mentorch.networks._shufflenet_v2 import ShuffleNetV2, shufflenet_v2
from mentorch.networks._taps import Taps, taps
from mentorch.networks._unet import unet, unet_tiny
from mentorch.networks._vgg import VGG, vgg8, vgg13, vgg16, vgg19
from mentorch.networks._vit import ViT, vit_nano, vit_tiny
from mentorch.networks._weights import load_weights, read_safetensors
from mentorch.networks._wrn import WideResNet, wrn, wrn_10_1, wrn_16_1, wrn_16_2, wrn_28_1, wrn_28_2, wrn_40_1, wrn_40_2

__all__ = [
    "CNN",
    "VGG",
    "BasicBlock",
    "Bottleneck",
    "Branched",
    "Cost",
    "EncoderDecoder",
    "MobileNetV2",
    "ResNet",
    "ShuffleNetV1",
    "ShuffleNetV2",
    "Taps",
    "ViT",
    "WideResNet",
    "branched",
    "build",
    "cnn_medium",
    "cnn_small",
    "cnn_tiny",
    "cost",
    "deeplab",
    "dense_names",
    "embedding",
    "hash_tensors",
    "load_weights",
    "mobilenet_v2",
    "names",
    "read_safetensors",
    "resnet",
    "resnet8",
    "resnet8x4",
    "resnet14",
    "resnet18",
    "resnet20",
    "resnet32",
    "resnet32x4",
    "resnet34",
    "resnet44",
    "resnet50",
    "resnet56",
    "resnet110",
    "resnet_karanchahal",
    "segnet",
    "segnet_tiny",
    "shufflenet_v1",
    "shufflenet_v2",
    "state_hash",
    "taps",
    "unet",
    "unet_tiny",
    "vgg8",
    "vgg13",
    "vgg16",
    "vgg19",
    "vit_nano",
    "vit_tiny",
    "wrn",
    "wrn_10_1",
    "wrn_16_1",
    "wrn_16_2",
    "wrn_28_1",
    "wrn_28_2",
    "wrn_40_1",
    "wrn_40_2",
]
