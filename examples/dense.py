"""Three single-task networks on rendered scenes: what they are trained on, and how well each does its task.

    python examples/dense.py --picture docs/images/scenes.png
    python examples/dense.py --task segmentation depth normals --epochs 12 --scenes 600

The first command draws scenes with their targets, as rendered and as one augmentation leaves them. The second trains a
small SegNet for each task and prints what it measures on test scenes that no choice has seen, beside what the best
constant answer would get: the commonest class, the median depth, the mean normal.
"""

import argparse
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

import mentorch as mt
from mentorch import losses, metrics
from mentorch.data import Batches, Normalize, dense, sample_keys
from mentorch.networks import segnet_tiny

OUTPUTS = {"segmentation": 7, "depth": 1, "normals": 3}
LOSSES = {
    "segmentation": partial(losses.cross_entropy, ignore_index=dense.IGNORE),
    "depth": losses.depth_l1,
    "normals": losses.normal_cosine,
}


def metric(task: str) -> metrics.Streaming:
    """The measurements of a task."""
    return {"segmentation": lambda: metrics.segmentation(7), "depth": metrics.depth, "normals": metrics.normals}[task]()


def measure(network: torch.nn.Module, view: Normalize, split: dense.DenseSplit, task: str) -> object:
    """What a network is worth on a whole split."""
    found = metric(task)
    with torch.no_grad():
        for batch in Batches(split, 64):
            found.update(network.eval()(view(batch.inputs)), batch.labels[task])
    return found.compute()


def constant(split: dense.DenseSplit, test: dense.DenseSplit, task: str) -> object:
    """What the best constant answer of a split is worth on another."""
    values = split.targets[task]
    if task == "segmentation":
        answer = values.flatten().mode().values.long().expand(test.targets[task].shape)
    elif task == "depth":
        answer = values.median().expand(test.targets[task].shape)
    else:
        answer = values.mean((0, 2, 3)).view(1, 3, 1, 1).expand(test.targets[task].shape)
    found = metric(task)
    found.update(answer, test.targets[task].long() if task == "segmentation" else test.targets[task])
    return found.compute()


def train(data: dense.DenseDataset, task: str, epochs: int) -> None:
    """Train one network for one task, and print what it measures."""
    torch.manual_seed(0)
    view = Normalize(data.mean, data.std)
    edge = mt.Edge(f"labels.{task}", "student", LOSSES[task])
    graph = mt.Graph({"student": segnet_tiny(OUTPUTS[task])}, [edge], views={"student": view})
    batches = Batches(data.train, 16, shuffle=True, drop_last=True, augment=dense.Together((dense.Flip(),)))
    optimizer = partial(torch.optim.Adam, lr=3e-3)
    mt.fit(graph, batches, optimizer=optimizer, schedule=mt.gates.Cosine(1.0, 0.0), epochs=epochs)
    print(f"{task}, constant: {constant(data.train, data.test, task)}")
    print(f"{task}, segnet_tiny: {measure(graph.nodes['student'], view, data.test, task)}")


def picture(path: Path) -> None:
    """Scenes and their targets, left as rendered, right as augmented."""
    from PIL import Image

    key = sample_keys(0, 0, torch.tensor([1, 2, 4, 6, 7]))
    images, targets = dense.render(key, (72, 96), samples=3)
    augment = dense.Together((dense.Flip(1.0), dense.Rotate(15.0), dense.Zoom(1.2, 1.6)))
    both = [tiles(images / 255, targets), tiles(*augment.together(images, targets, key))]
    sheet = torch.cat(both, dim=3)  # [N, 3, H, W]
    sheet = torch.cat(list(sheet), dim=1).permute(1, 2, 0)
    Image.fromarray(sheet.contiguous().numpy()).save(path, optimize=True)


def tiles(images: Tensor, targets: dict[str, Tensor]) -> Tensor:
    """Image, classes, depth and normals side by side, uint8, shape [N, 3, H, 4 W]."""
    said = {"images": images, **{kind: targets[kind] for kind in OUTPUTS}}
    return torch.cat([dense.paint(kind, values, near=0.8, far=8.0) for kind, values in said.items()], dim=3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--picture", type=Path, help="draw scenes into this file")
    parser.add_argument("--task", nargs="*", choices=OUTPUTS, default=[], help="train a network for each")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--scenes", type=int, default=1000, help="training scenes")
    parser.add_argument("--size", type=int, default=48)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.picture:
        picture(options.picture)
    if options.task:
        data = dense.scenes(options.size, train=options.scenes, validation=1, test=200)
        for task in options.task:
            train(data, task, options.epochs)


if __name__ == "__main__":
    main()
