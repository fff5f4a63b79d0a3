"""Thirteen networks that somebody else trained on CIFAR-10 reach the accuracy measured elsewhere."""

import os
from functools import cache
from pathlib import Path

import pytest
import torch

from mentorch.data import Normalize, describe, load
from mentorch.networks import build, load_weights

IMAGENET = Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CIFAR = Normalize((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
# file, network, percent right of the 10,000 test images, normalisation; the cheaper ones of each family first
QUICK = [
    ("resnet20-akamaster", "resnet20", 91.73, IMAGENET),
    ("resnet56-akamaster", "resnet56", 93.39, IMAGENET),
    ("resnet8-karanchahal", "resnet8_karanchahal", 89.59, CIFAR),
    ("resnet8-karanchahal-distilled", "resnet8_karanchahal", 91.00, CIFAR),
    ("resnet14-karanchahal", "resnet14_karanchahal", 92.18, CIFAR),
    ("wrn10-1-karanchahal", "wrn_10_1", 88.06, CIFAR),
    ("wrn16-1-karanchahal", "wrn_16_1", 91.75, CIFAR),
    ("wrn28-1-karanchahal", "wrn_28_1", 92.89, CIFAR),
]
LONG = [
    ("resnet32-akamaster", "resnet32", 92.63, IMAGENET),
    ("resnet44-akamaster", "resnet44", 93.10, IMAGENET),
    ("resnet20-karanchahal", "resnet20_karanchahal", 93.02, CIFAR),
    ("resnet26-karanchahal", "resnet26_karanchahal", 93.41, CIFAR),
    ("resnet32-karanchahal", "resnet32_karanchahal", 93.69, CIFAR),
]


@cache
def photographs():
    return load("cifar10").test


def percent_right(file, network, normalize, count):
    folder = os.environ.get("MENTORCH_WEIGHTS")
    path = Path(folder or ".") / f"cifar10-{file}.safetensors"
    if folder is None or not path.is_file():
        pytest.skip(f"MENTORCH_WEIGHTS names no folder with {path.name}")
    if describe("cifar10").place is None:
        pytest.skip("cifar10 is not on this machine: MENTORCH_DATA names no folder that holds it")
    test = photographs()
    model = load_weights(build(network, num_classes=10), path).eval().to(memory_format=torch.channels_last)
    right = 0
    with torch.inference_mode():
        # 25 at a time stay in the processor's cache: twice as fast as 250
        for images, labels in zip(test.images[:count].split(25), test.labels[:count].split(25), strict=True):
            inputs = normalize(images.float() / 255).to(memory_format=torch.channels_last)
            right += int((model(inputs).argmax(1) == labels).sum())
    return 100 * right / count


@pytest.mark.parametrize(("file", "network", "percent", "normalize"), QUICK, ids=[row[0] for row in QUICK])
def test_accuracy(file, network, percent, normalize):
    assert percent_right(file, network, normalize, 10_000) == pytest.approx(percent, abs=0.05)


@pytest.mark.slow
@pytest.mark.parametrize(("file", "network", "percent", "normalize"), LONG, ids=[row[0] for row in LONG])
def test_accuracy_of_the_others(file, network, percent, normalize):
    assert percent_right(file, network, normalize, 10_000) == pytest.approx(percent, abs=0.05)


@pytest.mark.parametrize(("file", "network", "percent", "normalize"), LONG, ids=[row[0] for row in LONG])
def test_accuracy_of_the_others_on_a_thousand(file, network, percent, normalize):
    share = percent / 100
    deviation = 100 * (share * (1 - share) / 1000 * 0.9) ** 0.5  # of a sample of 1,000 from 10,000
    assert percent_right(file, network, normalize, 1_000) == pytest.approx(percent, abs=4 * deviation)
