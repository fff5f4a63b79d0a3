import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from mentorch import UsageError, methods, networks, zoo
from mentorch._freeze import is_frozen
from mentorch.cli import _specialists, _training
from mentorch.cli._amalgamate_recipe import AmalgamateRecipe
from mentorch.cli._recipe import check
from mentorch.cli._specialists import (
    data_sets,
    hashes,
    joint_data,
    joint_space,
    own_samples,
    planned,
    temperatures,
    trained,
)
from mentorch.data import Dataset, LabelSpace, Normalize, Resize, Split


def split(classes: int, count: int, channels: int, size: int) -> Split:
    images = torch.randint(256, (count, channels, size, size), dtype=torch.uint8)
    labels = torch.arange(count) % max(classes, 1)
    return Split(images + 20 * labels[:, None, None, None].to(torch.uint8), labels, torch.arange(count))


def dataset(name: str, classes: str, *, channels: int = 1, size: int = 8, train: int = 12) -> Dataset:
    torch.manual_seed(len(name))
    counts = {"train": train, "validation": 6, "test": 6}
    parts = {part: split(len(classes), count, channels, size) for part, count in counts.items()}
    return Dataset.of(name, **parts, classes=tuple(classes))


def recipe(*teachers: str, **values: Any) -> AmalgamateRecipe:
    quick = {"epochs": 1, "batch_size": 6, "lr": 0.01, "tensorboard": False, "methods": ("kd",)}
    found = check(AmalgamateRecipe, {**quick, "teachers": teachers or ("a", "b"), **values})
    assert isinstance(found, AmalgamateRecipe)
    return found


def kept(folder: Path, classes: str, size: int | None = 8, channels: int = 1) -> str:
    """A network that has not learned anything, as a folder with a card."""
    torch.manual_seed(0)
    arguments = {"num_classes": len(classes) or 5, "in_channels": channels}
    given = size and zoo.Input(channels, (size, size), (0.3,) * channels, (0.4,) * channels, "gray")
    card = zoo.Card(folder.name, "cnn_tiny", arguments, classes=tuple(classes), input=given)
    zoo.save(networks.build("cnn_tiny", **arguments), folder, card)
    return str(folder)


# data sets by name


def test_data_sets_are_loaded_in_their_order_and_only_photographs_are_resized(monkeypatch) -> None:
    monkeypatch.setattr(_training, "dataset", lambda found, train_size: (found.data, found.image_size, train_size))
    monkeypatch.setattr(_specialists, "unlabelled", lambda path, **options: (path, *options.values()))
    asked = recipe(test="digits", image_size=32, train_size=9)
    assert data_sets(asked, "folder:birds+digits+images:pool") == {
        "folder:birds": ("folder:birds", 32, 9),
        "digits": ("digits", None, 9),
        "images:pool": ("pool", 32, 9),
    }


def test_a_data_set_that_is_there_twice_is_refused_before_it_is_loaded(monkeypatch) -> None:
    monkeypatch.setattr(_training, "dataset", lambda *_: pytest.fail("loaded"))
    with pytest.raises(UsageError, match=r"^a data set is there twice in 'digits\+digits'$"):
        data_sets(recipe(), "digits+digits")


def test_images_without_labels_need_labelled_ones_to_test_with() -> None:
    with pytest.raises(UsageError, match=r"^images:pool has no labels: name labelled data .* with --test$"):
        data_sets(recipe(), "images:pool")


# who teaches


def test_teachers_are_named_by_the_user_or_counted(tmp_path: Path) -> None:
    low = kept(tmp_path / "is=low", "ab")
    found = planned(recipe(low, f"high={low}"), {"digits": dataset("digits", "ab")})
    assert [(name, teacher.source) for name, teacher in found.items()] == [("teacher1", low), ("high", low)]
    with pytest.raises(UsageError, match=r"^two teachers are called 'teacher1'$"):
        planned(recipe(low, f"teacher1={low}"), {"digits": dataset("digits", "ab")})


@pytest.mark.parametrize(("size", "kinds"), [(None, []), (8, [Normalize]), (5, [Resize, Normalize])])
def test_a_given_teacher_sees_what_its_card_says(tmp_path: Path, size: int | None, kinds: list[type]) -> None:
    data = dataset("digits", "ab")
    teacher = planned(recipe(*[kept(tmp_path / "low", "xyz", size)] * 2), {"digits": data})["teacher1"]
    assert teacher.classes == ("x", "y", "z")
    assert teacher.data is None
    view = teacher.view
    assert [type(part) for part in ((view if len(kinds) > 1 else [view]) if kinds else [])] == kinds
    if view is None:
        assert size is None
    else:
        seen = view(data.train.images.float() / 255)
        assert seen.shape == (12, 1, size, size)
        if size == 8:
            torch.testing.assert_close(seen, (data.train.images / 255 - 0.3) / 0.4)


@pytest.mark.parametrize(
    ("classes", "channels", "message"),
    [
        ("", 1, r"low does not say what its classes are: write them into its card$"),
        ("ab", 3, r"low reads images of 3 channels, those of 'digits' have 1$"),
    ],
)
def test_a_given_teacher_of_no_use_is_named(tmp_path: Path, classes: str, channels: int, message: str) -> None:
    folder = kept(tmp_path / "low", classes, channels=channels)
    with pytest.raises(UsageError, match=message):
        planned(recipe(folder, folder), {"digits": dataset("digits", "ab")})


def test_each_teacher_to_be_trained_has_its_data_set_and_the_same_weights_every_time() -> None:
    sets = {"birds": dataset("birds", "ab"), "clothes": dataset("clothes", "xyz")}
    asked = recipe("b=cnn_tiny", "c=cnn_small")
    once, again = planned(asked, sets), planned(asked, sets)
    assert [(t.name, t.classes, t.data) for t in once.values()] == [
        ("cnn_tiny", ("a", "b"), sets["birds"]),
        ("cnn_small", ("x", "y", "z"), sets["clothes"]),
    ]
    assert hashes(once) == hashes(again)
    assert len(set(hashes(once))) == 2


def test_a_teacher_without_data_of_its_own_is_named() -> None:
    asked = recipe("b=cnn_tiny", "c=cnn_tiny")
    message = (
        r"^teacher b \(cnn_tiny\) is to be trained: --data names one data set for each of the 2 teachers, .* not 1$"
    )
    with pytest.raises(UsageError, match=message):
        planned(asked, {"digits": dataset("digits", "ab")})
    blind = dataclasses.replace(dataset("pool", "ab"), classes=())
    with pytest.raises(UsageError, match=r"^teacher c \(cnn_tiny\) is to be trained, and pool has no labels$"):
        planned(asked, {"birds": dataset("birds", "ab"), "pool": blind})


def session(folder: Path, *, resume: bool = False) -> Any:
    told: list[str] = []
    return SimpleNamespace(folder=folder, resume=resume, tell=told.append, told=told)


def test_a_teacher_is_trained_once_kept_with_its_card_and_read_when_a_run_goes_on(tmp_path: Path, monkeypatch) -> None:
    sets = {"birds": dataset("birds", "ab"), "clothes": dataset("clothes", "xyz")}
    asked, run = recipe("b=cnn_tiny", "c=cnn_tiny", teacher_epochs=2), session(tmp_path)
    fresh = planned(asked, sets)["c"]
    before = hashes({"c": fresh})
    found = trained("c", fresh, asked, run)
    assert is_frozen(found.network)
    assert hashes({"c": found}) != before
    card = zoo.read(tmp_path / "nodes/c")
    assert (card.classes, card.hash, found.source) == (
        ("x", "y", "z"),
        *hashes({"c": found}),
        str(tmp_path / "nodes/c"),
    )
    assert card.training == {"epochs": 2, "seed": 0, "images": 12}
    assert run.told[0] == "training c cnn_tiny on 12 images of clothes"
    monkeypatch.setattr(_training, "trainer", lambda *_, **__: pytest.fail("trained again"))
    again = trained("c", planned(asked, sets)["c"], asked, session(tmp_path, resume=True))
    assert hashes({"c": again}) == hashes({"c": found})
    images = sets["clothes"].test.images.float() / 255
    assert is_frozen(again.network)
    torch.testing.assert_close(again.network(again.view(images)), found.network(found.view(images)))


def test_a_given_teacher_is_frozen_and_not_trained(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(_training, "trainer", lambda *_, **__: pytest.fail("trained"))
    asked = recipe(*[kept(tmp_path / "low", "ab")] * 2)
    given = planned(asked, {"digits": dataset("digits", "ab")})["teacher1"]
    before = hashes({"a": given})
    found = trained("teacher1", given, asked, session(tmp_path))
    assert is_frozen(found.network)
    assert hashes({"a": found}) == before
    assert not (tmp_path / "nodes").exists()


# what they know together


def teachers(**classes: str) -> Any:
    return {name: SimpleNamespace(classes=tuple(own), network=None, view=None) for name, own in classes.items()}


def test_classes_are_those_of_all_or_those_that_were_asked_for() -> None:
    two = teachers(a="xy", b="yz")
    assert joint_space(recipe(), two).names == ("x", "y", "z")
    assert joint_space(recipe(classes=("z", "x")), two).names == ("z", "x")
    with pytest.raises(UsageError, match="unknown class 'q'"):
        joint_space(recipe(classes=("q",)), two)


def test_labelled_images_of_known_classes_are_joined() -> None:
    sets = {"one": dataset("one", "yq"), "two": dataset("two", "zx")}
    found = joint_data(recipe(), sets, LabelSpace.union({"a": "xy", "b": "yz"}))
    assert found.classes == ("x", "y", "z")
    assert found.train.labels.bincount().tolist() == [6, 6, 6]  # q is known to nobody


def test_images_without_labels_are_all_learned_from_and_others_test(monkeypatch) -> None:
    pool = dataclasses.replace(dataset("pool", "ab", train=5), classes=())
    sets = {"pool": pool, "one": dataset("one", "qr")}
    monkeypatch.setattr(_specialists, "data_sets", lambda asked, names: {names: dataset(names, "yx")})
    space = LabelSpace.union({"a": "xy", "b": "yz"})
    found = joint_data(recipe(test="exam"), sets, space)
    assert torch.equal(found.train.images, torch.cat([data.train.images for data in sets.values()]))
    assert not found.train.labels.any()
    assert found.train.index.tolist() == list(range(17))
    exam = dataset("exam", "yx")
    order = found.test.index.argsort()
    assert found.test.labels[order].tolist() == [1 - label for label in exam.test.labels.tolist()]
    assert found.note is not None
    assert found.note.endswith("training images without labels; validation and test exam")


@pytest.mark.parametrize(
    ("exam", "message"),
    [
        (dataclasses.replace(dataset("exam", "ab"), classes=()), "^exam has no labels to test with$"),
        (dataset("exam", "uv"), r"^no class of exam is one of the teachers' \(x, y, z, ...\): name labelled data with"),
        (dataset("exam", "xy", size=9), r"^the images of --data and --test differ in shape: \(1, 8, 8\), \(1, 9, 9\)$"),
        (dataset("exam", "xy", channels=3), r"differ in shape: \(1, 8, 8\), \(3, 8, 8\)$"),
    ],
)
def test_an_exam_of_no_use_is_named(monkeypatch, exam: Dataset, message: str) -> None:
    monkeypatch.setattr(_specialists, "data_sets", lambda asked, names: {names: exam})
    with pytest.raises(UsageError, match=message):
        joint_data(recipe(test="exam"), {"pool": dataset("pool", "ab")}, LabelSpace.union({"a": "xy", "b": "yz"}))


def test_own_samples_have_their_own_numbers() -> None:
    space = LabelSpace.union({"a": "xy", "b": "yz"})
    images = torch.arange(4, dtype=torch.uint8)[:, None, None, None].expand(4, 1, 2, 2)
    own = own_samples(space, "b", Split(images, torch.tensor([0, 1, 2, 1]), torch.arange(4)))
    assert (own.labels.tolist(), own.index.tolist()) == ([0, 1, 0], [1, 2, 3])
    assert own.images[:, 0, 0, 0].tolist() == [1, 2, 3]


def test_temperatures_are_those_of_own_validation_images() -> None:
    space = LabelSpace.union({"a": "xy", "b": "yz"})
    data = joint_data(recipe(), {"all": dataset("all", "xyz")}, space)
    torch.manual_seed(0)
    two = {
        name: SimpleNamespace(network=networks.cnn_tiny(2, in_channels=1).eval(), view=view)
        for name, view in (("a", None), ("b", Normalize((0.5,), (0.1,))))
    }
    found = temperatures(two, space, data)
    held = own_samples(space, "b", data.validation)
    logits = two["b"].network((held.images.float() / 255 - 0.5) / 0.1)
    assert found[1] == pytest.approx(methods.calibrate(logits, held.labels), rel=1e-3)
    assert len(found) == 2
    missing = LabelSpace(space.names, {"a": space.parts["a"], "b": (-1, -1)})
    with pytest.raises(UsageError, match=r"^b cannot be calibrated: no validation image is of one of its classes$"):
        temperatures(two, missing, data)
