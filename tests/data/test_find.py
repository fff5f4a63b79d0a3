import os

import pytest

from mentorch.data._find import cache_folder, find, not_found, places
from mentorch.data._sources import CIFAR10, FASHION_MNIST, MNIST, SVHN


def test_places_are_searched_in_order(clean, monkeypatch):
    monkeypatch.setenv("MENTORCH_DATA", os.pathsep.join([str(clean / "a"), "", str(clean / "b")]))
    system = [type(clean)(part) for part in MNIST.system]
    assert places(MNIST, clean / "root") == [clean / "root", clean / "a", clean / "b", *system, cache_folder()]


def test_the_first_place_that_has_everything_wins(clean, monkeypatch, write_idx):
    for name in ("root", "a", "b"):
        write_idx(clean / name / "mnist")
    (clean / "root" / "mnist" / "t10k-labels-idx1-ubyte").unlink()
    monkeypatch.setenv("MENTORCH_DATA", os.pathsep.join([str(clean / "a"), str(clean / "b")]))
    found = find(MNIST, clean / "root")
    assert {path.parent for path in found.values()} == {clean / "a" / "mnist"}


@pytest.mark.parametrize("folder", ["", "mnist", "MNIST/raw"])
@pytest.mark.parametrize("packed", [True, False])
def test_usual_sub_folders_plain_and_packed(clean, write_idx, folder, packed):
    write_idx(clean / folder, packed=packed)
    assert len(find(MNIST, clean)) == 4


def test_the_dotted_spelling_is_known(clean, write_idx):
    write_idx(clean)
    for path in list(clean.iterdir()):
        path.rename(path.with_name(path.name.replace("-idx", ".idx")))
    assert find(MNIST, clean)["train-images-idx3-ubyte"].name == "train-images.idx3-ubyte"


def test_the_cache_is_searched(clean, write_svhn):
    assert find(SVHN, None) is None
    write_svhn(cache_folder() / "svhn")
    assert len(find(SVHN, None)) == 2


def test_files_of_another_set_with_the_same_names_are_passed_over(clean, write_idx, monkeypatch):
    """MNIST and Fashion-MNIST are told apart by their first labels."""
    monkeypatch.setattr("mentorch.data._find.places", lambda source, root: [clean / "one", clean / "two"])
    write_idx(clean / "one", labels=[5, 0, 4, 1, 9, 2, 1, 3, 1, 4, 3, 5, 3, 6, 1, 7])
    write_idx(clean / "two", labels=[9, 0, 0, 3, 0, 2, 7, 2, 5, 5, 0, 9, 5, 5, 7, 9], packed=True)
    assert {path.parent for path in find(MNIST, None).values()} == {clean / "one"}
    assert {path.parent for path in find(FASHION_MNIST, None).values()} == {clean / "two"}


def test_what_is_not_found_says_where_it_was_looked_for_and_how_to_get_it(clean):
    text = str(not_found(FASHION_MNIST, clean))
    for part in (
        "'fashion-mnist'",
        str(clean),
        "mentorch data fetch fashion-mnist",
        "apt install dataset-fashion-mnist",
    ):
        assert part in text
    assert "\n" not in text


def test_what_is_incomplete_is_named(clean, write_cifar):
    write_cifar(clean)
    (clean / "cifar-10-batches-bin" / "data_batch_4.bin").unlink()
    assert find(CIFAR10, clean) is None
    assert f"{clean / 'cifar-10-batches-bin'} lacks data_batch_4.bin" in str(not_found(CIFAR10, clean))
