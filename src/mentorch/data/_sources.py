"""The data sets mentorch knows by name: facts, usual places, official downloads, and how to read each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mentorch._errors import unknown
from mentorch.data._archives import Arrays, read_cifar, read_idx_pair, read_members, read_svhn


@dataclass(frozen=True)
class Source:
    """A data set in standard archives.

    Attributes:
        name: how users call it.
        aliases: other names for it.
        shape: (channels, height, width).
        sizes: images in the official training and test split.
        classes: in the order of the labels.
        mirror: whether a mirrored image keeps its class.
        files: the archive files; each may be gzipped.
        read: from file name -> path to (training, test) arrays.
        folders: usual folder names, tried below every place that is searched.
        system: folders outside the user's reach to try as well.
        downloads: official (URL, SHA-256).
        tarball: archive that holds all files, or None.
        opening: the first labels of the training split, where another data set has files of the same names.
        hint: another way to get it.
    """

    name: str
    shape: tuple[int, int, int]
    sizes: tuple[int, int]
    classes: tuple[str, ...]
    mirror: bool
    files: tuple[str, ...]
    read: Callable[[Mapping[str, Path]], tuple[Arrays, Arrays]]
    folders: tuple[str, ...]
    downloads: tuple[tuple[str, str], ...]
    aliases: tuple[str, ...] = ()
    system: tuple[str, ...] = ()
    tarball: str | None = None
    opening: bytes = b""
    hint: str = ""


_IDX = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
_SVHN = ("train_32x32.mat", "test_32x32.mat")
_CIFAR10 = (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin")
_DIGITS = tuple("0123456789")
_FINE = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant
flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree
motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate
poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider
squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle
wardrobe whale willow_tree wolf woman worm
"""
_BINARY = "mentorch reads the binary version, not the pickled python one"


def _read_idx(paths: Mapping[str, Path]) -> tuple[Arrays, Arrays]:
    content = read_members(paths)
    return read_idx_pair(content, paths, *_IDX[:2]), read_idx_pair(content, paths, *_IDX[2:])


def _read_cifar(paths: Mapping[str, Path], label_bytes: int) -> tuple[Arrays, Arrays]:
    import numpy as np

    parts = [read_cifar(data, paths[name], label_bytes) for name, data in read_members(paths).items()]
    *train, test = parts
    return (np.concatenate([x for x, _ in train]), np.concatenate([y for _, y in train])), test


def _read_svhn(paths: Mapping[str, Path]) -> tuple[Arrays, Arrays]:
    return read_svhn(paths[_SVHN[0]]), read_svhn(paths[_SVHN[1]])


def _idx_downloads(base: str, *digests: str) -> tuple[tuple[str, str], ...]:
    return tuple((f"{base}/{name}.gz", digest) for name, digest in zip(_IDX, digests, strict=True))


MNIST = Source(
    name="mnist",
    shape=(1, 28, 28),
    sizes=(60_000, 10_000),
    classes=_DIGITS,
    mirror=False,
    files=_IDX,
    read=_read_idx,
    folders=("mnist", "MNIST", "MNIST/raw"),
    downloads=_idx_downloads(
        "https://ossci-datasets.s3.amazonaws.com/mnist",
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    ),
    system=("/usr/share/datasets/mnist",),
    opening=bytes([5, 0, 4, 1, 9, 2, 1, 3, 1, 4, 3, 5, 3, 6, 1, 7]),
)

FASHION_MNIST = Source(
    name="fashion-mnist",
    shape=(1, 28, 28),
    sizes=(60_000, 10_000),
    classes=(
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
    mirror=True,
    files=_IDX,
    read=_read_idx,
    folders=("fashion-mnist", "fashion_mnist", "FashionMNIST", "FashionMNIST/raw"),
    downloads=_idx_downloads(
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    ),
    aliases=("fashion_mnist",),
    system=("/usr/share/datasets/fashion-mnist",),
    opening=bytes([9, 0, 0, 3, 0, 2, 7, 2, 5, 5, 0, 9, 5, 5, 7, 9]),
    hint="on Debian `apt install dataset-fashion-mnist`",
)

CIFAR10 = Source(
    name="cifar10",
    shape=(3, 32, 32),
    sizes=(50_000, 10_000),
    classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    mirror=True,
    files=_CIFAR10,
    read=partial(_read_cifar, label_bytes=1),
    folders=("cifar-10-batches-bin", "cifar10", "cifar10/cifar-10-batches-bin"),
    downloads=(
        (
            "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
            "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        ),
    ),
    tarball="cifar-10-binary.tar.gz",
    hint=_BINARY,
)

CIFAR100 = Source(
    name="cifar100",
    shape=(3, 32, 32),
    sizes=(50_000, 10_000),
    classes=tuple(_FINE.split()),
    mirror=True,
    files=("train.bin", "test.bin"),
    read=partial(_read_cifar, label_bytes=2),
    folders=("cifar-100-binary", "cifar100", "cifar100/cifar-100-binary"),
    downloads=(
        (
            "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
            "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
        ),
    ),
    tarball="cifar-100-binary.tar.gz",
    hint=_BINARY,
)

SVHN = Source(
    name="svhn",
    shape=(3, 32, 32),
    sizes=(73_257, 26_032),
    classes=_DIGITS,
    mirror=False,
    files=_SVHN,
    read=_read_svhn,
    folders=("svhn", "SVHN", "svhn_cropped"),
    downloads=(
        (
            "http://ufldl.stanford.edu/housenumbers/train_32x32.mat",
            "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8",
        ),
        (
            "http://ufldl.stanford.edu/housenumbers/test_32x32.mat",
            "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b",
        ),
    ),
    aliases=("svhn_cropped",),
)

SOURCES = {source.name: source for source in (MNIST, FASHION_MNIST, CIFAR10, CIFAR100, SVHN)}
_ALIASES = {alias: source.name for source in SOURCES.values() for alias in source.aliases}


def names() -> list[str]:
    """The names `load` knows; `folder:PATH` besides."""
    return sorted([*SOURCES, "digits"])


def source_named(name: str) -> Source:
    """The source of that name or alias.

    Raises:
        UsageError: if there is none.
    """
    name = _ALIASES.get(name, name)
    if name not in SOURCES:
        raise unknown("data set", name, [*names(), "folder:PATH"])
    return SOURCES[name]
