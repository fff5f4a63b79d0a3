import pytest

from mentorch import UsageError
from mentorch.data import describe, load, names


def test_every_name_can_be_described_without_its_files(clean):
    for name in names():
        facts = describe(name)
        assert facts.name == name
        assert facts.train > facts.test > 0
        assert facts.how


def test_the_facts_of_digits_are_those_of_the_data():
    facts, data = describe("digits"), load("digits")
    assert facts.shape == tuple(data.train.images.shape[1:])
    assert facts.classes == data.classes
    assert (facts.train, facts.test) == (len(data.train) + len(data.validation), len(data.test))


def test_where_it_is_or_how_to_get_it(clean, write_svhn):
    facts = describe("svhn_cropped", root=clean)
    assert facts.place is None
    assert "mentorch data fetch svhn" in facts.how
    write_svhn(clean / "SVHN")
    facts = describe("svhn", root=clean)
    assert facts.place == clean / "SVHN"
    assert facts.how == f"found in {clean / 'SVHN'}"


def test_a_folder_is_counted(tmp_path, write_photos):
    for split, count in (("train", 6), ("test", 2)):
        write_photos(tmp_path / split, {"ant": count, "bee": count})
    facts = describe(f"folder:{tmp_path}")
    assert (facts.classes, facts.train, facts.test, facts.shape) == (("ant", "bee"), 12, 4, (3, 64, 64))


def test_unknown_names_are_refused():
    with pytest.raises(UsageError, match="unknown data set"):
        describe("imagenet")
