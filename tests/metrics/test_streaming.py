"""What every streaming metric promises: the same result however the data are divided."""

import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from mentorch.metrics import depth, normals, segmentation

COUNT, SIZE, CLASSES = 22, (5, 7), 4


def data(kind, seed=0):
    generator = torch.Generator().manual_seed(seed)
    if kind == "segmentation":
        labels = torch.randint(0, CLASSES, (COUNT, *SIZE), generator=generator)
        labels[torch.rand(COUNT, *SIZE, generator=generator) < 0.2] = 255
        return torch.randn(COUNT, CLASSES, *SIZE, generator=generator), labels
    shape = (COUNT, 1 if kind == "depth" else 3, *SIZE)
    prediction, target = (torch.randn(shape, generator=generator) for _ in range(2))
    unknown = torch.rand(COUNT, 1, *SIZE, generator=generator) < 0.2
    if kind == "depth":
        prediction, target = prediction.exp(), target.exp()
    target = target.masked_fill(unknown, 0.0)
    target[3] = 0.0  # an image without a pixel
    return prediction, target


MAKE = {
    "segmentation": lambda: segmentation(CLASSES),
    "depth": depth,
    "depth per image": lambda: depth(per_image=True),
    "normals": normals,
}


def numbers(scores):
    """The values of a result, one after the other."""
    return [v for value in asdict(scores).values() for v in (value if isinstance(value, tuple) else (value,))]


@pytest.mark.parametrize("size", [1, 3, 7, 22, 100])
@pytest.mark.parametrize("name", MAKE)
def test_the_result_does_not_depend_on_the_batches(name, size):
    prediction, target = data(name.split()[0])
    whole, parts = MAKE[name](), MAKE[name]()
    whole.update(prediction, target)
    for p, t in zip(prediction.split(size), target.split(size), strict=True):  # the last is smaller
        parts.update(p, t)
    assert numbers(parts.compute()) == pytest.approx(numbers(whole.compute()), rel=1e-12)
    assert torch.equal(parts.sums.long(), whole.sums.long()) or name != "segmentation"


@pytest.mark.parametrize("name", MAKE)
def test_reset_forgets_everything(name):
    metric, other = MAKE[name](), MAKE[name]()
    metric.update(*data(name.split()[0], seed=1))
    first = metric.compute()
    assert metric.compute() == first
    metric.reset()
    for one in (metric, other):
        one.update(*data(name.split()[0]))
    assert metric.compute() == other.compute()
    assert metric.compute() != first


@pytest.mark.parametrize("name", MAKE)
def test_results_are_plain_numbers_and_hold_no_graph(name):
    metric = MAKE[name]()
    prediction, target = data(name.split()[0])
    metric.update(prediction.requires_grad_(), target)
    assert not metric.sums.requires_grad
    assert all(type(value) in (float, int) for value in numbers(metric.compute()))


@pytest.mark.parametrize("name", MAKE)
def test_half_precision_is_measured_in_full(name):
    prediction, target = data(name.split()[0])
    half, full = MAKE[name](), MAKE[name]()
    half.update(prediction.bfloat16(), target)
    full.update(prediction.bfloat16().double(), target)
    assert half.compute() == full.compute()


@pytest.mark.parametrize("name", MAKE)
def test_the_host_does_not_wait_for_the_device(name):
    """A device without values: the sums must be made there, and no value may be read."""
    metric = MAKE[name]()
    metric.update(*(x.to("meta") for x in data(name.split()[0])))
    assert metric.sums.device.type == "meta"


def test_processes_add_up(tmp_path: Path):
    """Two processes with shares of different sizes, in batches of their own, know together what one alone knows."""
    script = Path(__file__).with_name("distributed.py")
    command = [sys.executable, str(script), str(tmp_path / "store")]
    started = [subprocess.Popen([*command, str(rank)], stdout=subprocess.PIPE, text=True) for rank in range(2)]
    said = [process.communicate(timeout=120)[0].split() for process in started]
    assert [process.returncode for process in started] == [0, 0]
    assert said == [["segmentation", "depth", "depth_per_image", "normals", "nothing"]] * 2
