import re

import pytest

from mentorch import UsageError
from mentorch.data import names
from mentorch.data._sources import SOURCES, source_named


@pytest.mark.parametrize("source", SOURCES.values(), ids=lambda s: s.name)
def test_facts_are_complete(source):
    assert len(set(source.classes)) == len(source.classes) == (100 if source.name == "cifar100" else 10)
    assert all(
        re.fullmatch(r"https?://\S+", url) and re.fullmatch(r"[0-9a-f]{64}", sha) for url, sha in source.downloads
    )
    files = {url.rsplit("/", 1)[1].removesuffix(".gz") for url, _ in source.downloads}
    assert files == ({source.tarball.removesuffix(".gz")} if source.tarball else set(source.files))


def test_cifar100_classes_are_in_alphabetical_order():
    assert list(SOURCES["cifar100"].classes) == sorted(SOURCES["cifar100"].classes)


def test_other_data_sets_with_the_same_files_can_be_told_apart():
    for source in SOURCES.values():
        rivals = [s for s in SOURCES.values() if s is not source and s.files == source.files]
        assert all(source.opening and source.opening != rival.opening for rival in rivals)


def test_names_and_aliases():
    assert names() == ["cifar10", "cifar100", "digits", "fashion-mnist", "mnist", "svhn"]
    assert source_named("fashion_mnist").name == "fashion-mnist"
    assert source_named("svhn_cropped").name == "svhn"
    with pytest.raises(UsageError, match="did you mean 'cifar10'"):
        source_named("cifar-10")
