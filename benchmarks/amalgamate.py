r"""Specialists of a data set, each with its share of the classes, into one student without labels, with all baselines.

    python benchmarks/amalgamate.py                                        # CIFAR-10, 2000 images, 10 epochs, 3 seeds
    python benchmarks/amalgamate.py --data cifar100 --teachers resnet8 cnn_medium wrn_10_1 resnet8 \
        --teacher-size 9000 --teacher-epochs 15 --epochs 8 --out runs/quarters
    python benchmarks/amalgamate.py --train-size 45000 --teacher-size 45000 --epochs 60 --student resnet20
    python benchmarks/amalgamate.py --data digits --teachers cnn_small cnn_small --student cnn_small --epochs 30 \
        --teacher-size 1200 --train-size 400 --methods scratch kd cfl layerwise recombine --keep 0.27 --out runs/digits

The data set must be where `mentorch data list` looks for it. A run folder for `mentorch report` is written, the table
of docs/amalgamation.md printed. What a step costs is in features.py. For teachers of different data sets there is a
command:
mentorch amalgamate --data folder:A+folder:B --teachers a=resnet8 b=cnn_medium
"""

import argparse
from functools import partial
from pathlib import Path

import torch
from torch.optim import Adam

from mentorch import fit, gates, losses, networks, zoo
from mentorch.cli import main as mentorch
from mentorch.comparison import measure, outputs, training_batches
from mentorch.data import Dataset, LabelSpace, Normalize, load, only, standard
from mentorch.methods import accuracy_by_task, calibrate, supervise


def teach(name: str, network: str, data: Dataset, view: Normalize, folder: Path, epochs: int) -> Path:
    """A specialist on its own classes, kept with its card."""
    place = folder / name
    if (place / "card.json").exists():
        return place
    torch.manual_seed(0)
    made = networks.build(network, num_classes=data.num_classes, in_channels=data.channels)
    fit(
        supervise(made, view=view),
        training_batches(data.train, 64, augment=standard(data)),
        optimizer=partial(Adam, lr=2e-3),
        schedule=gates.Cosine(1.0, 0.0),
        epochs=epochs,
    )
    found = measure(made, data.test, view=view)
    print(f"{name}: {network}, {found['accuracy']:.2%} on its own {data.num_classes} classes", flush=True)
    order = "rgb" if data.channels == 3 else "gray"
    mean, std = (tuple(values.flatten().tolist()) for values in (view.mean, view.std))
    size = zoo.Input(data.channels, (data.image_size,) * 2, mean, std, order)
    arguments = {"num_classes": data.num_classes, "in_channels": data.channels}
    zoo.save(made, place, zoo.Card(name, network, arguments, classes=data.classes, input=size, metrics={"test": found}))
    return place


def together(folders: dict[str, Path], shares: dict[str, tuple[str, ...]], data: Dataset) -> None:
    """What the teachers say together under each target, with and without calibration; nothing is trained for that."""
    space, logits, found = LabelSpace.union(shares), [], []
    for name, folder in folders.items():
        network, card = zoo.load(folder)
        view = Normalize(card.input.mean, card.input.std)
        logits.append(outputs(network, data.test, view=view)[0])
        held = only(data, shares[name]).validation
        found.append(calibrate(outputs(network, held, view=view)[0], held.labels))
    print(f"temperatures: {', '.join(f'{value:.3f}' for value in found)}")
    for calibration in (None, found):
        for target in ("joint", "standardized", "confidence"):
            loss = losses.Concatenated(blocks=tuple(space.parts.values()), target=target, calibration=calibration)
            right = accuracy_by_task(space, loss.log_target(*logits), data.test.labels)
            how = target if calibration is None else f"{target}, calibrated"
            print(f"{how}: {right['joint']:.2%} of all classes, {right['task']:.2%} if the task is known", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--out", type=Path, default=Path("runs/halves"))
    parser.add_argument("--train-size", type=int, default=2000)
    parser.add_argument("--teacher-size", type=int, default=10000)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--teacher-epochs", type=int, help="as many as the student's unless given")
    parser.add_argument("--teachers", nargs="+", default=["resnet8", "cnn_small"], help="one for each share")
    parser.add_argument("--student", default="resnet8")
    parser.add_argument("--methods", nargs="+", default=["scratch", "kd", "cfl", "layerwise"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--variant", default="kamal")
    parser.add_argument("--rounds", type=int, default=3, help="of recombination")
    parser.add_argument("--keep", type=float, default=0.6, help="of the merged network")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    data = load(asked.data, train_size=asked.teacher_size)
    share = data.num_classes // len(asked.teachers)
    shares = {f"part{i + 1}": data.classes[i * share :][:share] for i in range(len(asked.teachers))}
    folders = {}
    for (name, classes), network in zip(shares.items(), asked.teachers, strict=True):
        own = only(data, classes)
        seen = data if "recombine" in asked.methods else own  # side by side they stand on one input
        view, epochs = Normalize(seen.mean, seen.std), asked.teacher_epochs or asked.epochs
        folders[name] = teach(name, network, own, view, asked.out / "teachers", epochs)
    together(folders, shares, data)
    words = ["amalgamate", "--teachers", *(f"{name}={folder}" for name, folder in folders.items())]
    words += ["--student", asked.student, "--data", asked.data, "--augment", "standard"]
    words += ["--train-size", asked.train_size, "--val-fraction", 0.02, "--epochs", asked.epochs]
    words += ["--methods", *asked.methods, "--seeds", *asked.seeds]
    words += ["--variant", asked.variant] if "cfl" in asked.methods else []
    words += ["--rounds", asked.rounds, "--keep", asked.keep] if "recombine" in asked.methods else []
    words += ["--lr", 2e-3, "--lr-schedule", "cosine", "--early-stop", 0, "--select", "last", "--knn", 0]
    words += ["--no-tensorboard", "--no-diagnose", "--threads", 1, "--out", asked.out, "--name", "amalgamated"]
    mentorch([str(word) for word in words])


if __name__ == "__main__":
    main()
