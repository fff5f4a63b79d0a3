"""What kept outputs depend on, and that nobody can use them for anything else."""

import functools
import re
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mentorch import Edge, Graph, RunError, UsageError, freeze
from mentorch.data import Batches, Compose, Cutout, Flip, Normalize, PadCrop, Split, uniform
from mentorch.training._cache_card import agree, check_seeded, describe, fingerprint, settle


def split(seed: int = 0, count: int = 20) -> Split:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, 1, 6, 6), dtype=torch.uint8, generator=generator)
    return Split(images, torch.zeros(count, dtype=torch.int64), torch.arange(count))


def graph(seed: int = 0, view: Any = None, bias: bool = True) -> Graph:
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Flatten(), nn.Linear(36, 3, bias=bias))
    nodes = {"teacher": freeze(net), "student": nn.Sequential(nn.Flatten(), nn.Linear(36, 3))}
    views = {} if view is None else {"teacher": view}
    return Graph(nodes, [Edge("teacher", "student", nn.functional.mse_loss)], views=views)


AUGMENT = Compose((PadCrop(1), Flip()))
BATCHES = Batches(split(), 5, shuffle=True, augment=AUGMENT)
SAME: dict[str, Any] = {
    "another copy": (graph(), BATCHES),
    "other batches of the same views": (graph(), replace(BATCHES, batch_size=7, views=4, drop_last=True)),
    "another order": (graph(), replace(BATCHES, seed=3, view_seed=0)),
    "a view that is the same": (graph(view=None), BATCHES),
}
OTHER: dict[str, Any] = {
    "weights": (graph(seed=1), BATCHES),
    "view": (graph(view=Normalize((0.5,), (0.25,))), BATCHES),
    "samples": (graph(), replace(BATCHES, split=split(1))),
    "augmentation": (graph(), replace(BATCHES, augment=Compose((PadCrop(2), Flip())))),
    "view seed": (graph(), replace(BATCHES, seed=3)),
}


def test_a_teacher_in_another_precision_is_another_teacher() -> None:
    lowered = graph()
    facts = fingerprint(lowered, "teacher", BATCHES)
    freeze(lowered.nodes["teacher"], precision=torch.bfloat16)
    other = fingerprint(lowered, "teacher", BATCHES)
    assert [key for key in facts if facts[key] != other[key]] == ["precision"]
    with torch.autocast("cpu", torch.bfloat16):
        assert fingerprint(graph(), "teacher", BATCHES) == other  # the same numbers


@pytest.mark.parametrize("case", SAME)
def test_the_fingerprint_is_that_of_the_outputs(case: str) -> None:
    assert fingerprint(SAME[case][0], "teacher", SAME[case][1]) == fingerprint(graph(), "teacher", BATCHES)


@pytest.mark.parametrize("key", OTHER)
def test_whatever_changes_the_outputs_changes_one_entry(key: str) -> None:
    facts, other = fingerprint(graph(), "teacher", BATCHES), fingerprint(OTHER[key][0], "teacher", OTHER[key][1])
    assert [k for k in facts if facts[k] != other[k]] == [key]


def test_two_normalisations_that_print_alike_differ() -> None:
    one, two = (graph(view=Normalize((0.5,), (std,))) for std in (0.25, 0.25001))
    assert fingerprint(one, "teacher", BATCHES)["view"] != fingerprint(two, "teacher", BATCHES)["view"]


class Scale(nn.Module):
    """Does not print its factor."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, images: Tensor) -> Tensor:
        return images.float() * self.factor


@dataclass(frozen=True)
class Scaled:
    factor: float

    def see(self, images: Tensor) -> Tensor:
        return images.float() * self.factor


VIEWS: dict[str, Any] = {
    "a module": Scale,
    "a part of one": lambda factor: nn.Sequential(nn.Identity(), Scale(factor)),
    "a module's method": lambda factor: Scale(factor).forward,
    "a method": lambda factor: Scaled(factor).see,
    "a method of state": lambda factor: Normalize((factor,), (0.25,)).forward,
}


@pytest.mark.parametrize("what", VIEWS)
def test_views_that_do_not_print_their_options_differ_by_them(what: str) -> None:
    same, one, two = (graph(view=VIEWS[what](factor)) for factor in (1.0, 1.0, 5.0))
    facts, other = fingerprint(one, "teacher", BATCHES), fingerprint(two, "teacher", BATCHES)
    assert fingerprint(same, "teacher", BATCHES) == facts
    assert [key for key in facts if facts[key] != other[key]] == ["view"]


def test_a_network_that_does_not_print_its_options_differs_by_them() -> None:
    def scaled(factor: float) -> Graph:
        made = graph()
        made.nodes["teacher"].append(freeze(Scale(factor)))
        return made

    facts, other = (fingerprint(scaled(factor), "teacher", BATCHES) for factor in (1.0, 5.0))
    assert fingerprint(scaled(1.0), "teacher", BATCHES) == facts
    assert [key for key in facts if facts[key] != other[key]] == ["network"]


def test_layers_without_weights_count() -> None:
    def network(activation: nn.Module) -> Graph:
        made = graph()
        made.nodes["teacher"].append(freeze(activation))
        return made

    one, two = (fingerprint(network(act), "teacher", BATCHES) for act in (nn.ReLU(), nn.GELU()))
    assert one["weights"] == two["weights"]
    assert one["network"] != two["network"]


def test_the_precision_is_that_in_which_the_network_runs() -> None:
    plain = fingerprint(graph(), "teacher", BATCHES)
    with torch.autocast("cpu", torch.bfloat16):
        assert fingerprint(graph(), "teacher", BATCHES)["precision"] == "torch.bfloat16"
    assert fingerprint(graph(), "teacher", BATCHES) == plain


def test_without_augmentation_the_seed_does_not_matter() -> None:
    one, two = (fingerprint(graph(), "teacher", Batches(split(), 5, seed=seed)) for seed in (0, 1))
    assert one == two


@pytest.mark.parametrize("net", [nn.BatchNorm1d(36), nn.BatchNorm1d(36, track_running_stats=False)])
def test_statistics_of_the_batch_cannot_be_kept(net: nn.Module) -> None:
    teacher = freeze(nn.Sequential(nn.Flatten(), net), statistics="batch")
    student = nn.Sequential(nn.Flatten(), nn.Linear(36, 36))
    made = Graph({"teacher": teacher, "student": student}, [Edge("teacher", "student", nn.functional.mse_loss)])
    with pytest.raises(UsageError, match="outputs of 'teacher' cannot be kept: '1' is in training mode, or uses"):
        fingerprint(made, "teacher", BATCHES)


@pytest.mark.parametrize(
    "view",
    [
        freeze(nn.BatchNorm2d(1), statistics="batch"),
        nn.BatchNorm2d(1, affine=False, track_running_stats=False),
        nn.Sequential(nn.Dropout(0.5)),
    ],
)
def test_views_that_use_statistics_of_the_batch_or_draw_cannot_be_kept(view: nn.Module) -> None:
    with pytest.raises(UsageError, match=r"outputs of 'teacher' cannot be kept: 'view(\.0)?' is in training mode, or"):
        fingerprint(graph(view=view), "teacher", BATCHES)


def test_frozen_views_can_be_kept() -> None:
    fingerprint(graph(view=freeze(nn.Sequential(nn.BatchNorm2d(1), nn.Dropout(0.5)))), "teacher", BATCHES)


# cards


def test_a_card_is_written_once_and_agreed_with(tmp_path: Path) -> None:
    path = tmp_path / "teacher" / "card.json"
    assert agree(path, {"weights": "a"}) is None
    assert settle(path, {"weights": "a", "shapes": {"teacher": [3]}}) == {"weights": "a", "shapes": {"teacher": [3]}}
    assert agree(path, {"weights": "a"}) == {"weights": "a", "shapes": {"teacher": [3]}}
    before = path.stat().st_mtime_ns
    settle(path, {"weights": "a", "shapes": {"teacher": [3]}})
    assert path.stat().st_mtime_ns == before


@pytest.mark.parametrize("key", [*OTHER, "dtype", "precision"])
def test_a_mismatch_is_one_line_that_names_it(tmp_path: Path, key: str) -> None:
    path = tmp_path / "teacher" / "card.json"
    settle(path, {key: "a" * 64, "rest": 1})
    with pytest.raises(UsageError, match=re.escape(f"cache {tmp_path / 'teacher'} is for other {key}: aaa")) as caught:
        agree(path, {key: "b" * 64, "rest": 1})
    assert "\n" not in str(caught.value)
    assert len(str(caught.value).replace(str(tmp_path), "")) < 260
    assert ("view_seed=" in str(caught.value)) == (key == "view seed")


def test_of_several_that_begin_at_once_one_decides(tmp_path: Path) -> None:
    path, refused = tmp_path / "card.json", []

    def begin(number: int) -> None:
        try:
            settle(path, {"weights": number})
        except UsageError:
            refused.append(number)

    threads = [threading.Thread(target=begin, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winner = agree(path, {})
    assert winner is not None
    assert sorted([*refused, winner["weights"]]) == list(range(8))


def test_a_damaged_card_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "card.json").write_text("{")
    with pytest.raises(RunError, match=r"card\.json is damaged"):
        agree(tmp_path / "card.json", {})


def test_a_folder_that_cannot_be_one_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "teacher").touch()
    with pytest.raises(RunError, match=r"cannot use cache folder .*teacher: "):
        settle(tmp_path / "teacher" / "card.json", {})


# what says what it does


class Unsaid:
    def see(self, images: Tensor) -> Tensor:
        return images


@dataclass(frozen=True)
class Holding:
    function: Any


def named(images: Tensor, key: Tensor) -> Tensor:
    return images


def test_descriptions_are_the_same_in_every_process() -> None:
    things = [None, AUGMENT, named, functools.partial(named, key=torch.float32), Normalize((0.5,), (0.25,))]
    here = [describe(thing, "view") for thing in things]
    assert here[0] == "None"
    assert here[1] == "Compose(steps=(PadCrop(padding=1), Flip(probability=0.5)))"
    assert here[2].endswith(".named")
    assert here[3] == f"{here[2]}(key=torch.float32)"
    assert not any(" at 0x" in text for text in here)


@pytest.mark.parametrize(
    "thing", [lambda x: x, Holding(lambda x: x), object(), functools.partial(lambda x: x), Unsaid().see]
)
def test_what_does_not_say_what_it_does_is_refused(thing: Any) -> None:
    with pytest.raises(UsageError, match=r"the view .* does not say what it does"):
        describe(thing, "view")


# augmentations


@dataclass(frozen=True)
class MixNeighbours:
    """Each image with the next of its batch."""

    def __call__(self, images: Tensor, key: Tensor) -> Tensor:
        return (images.float() + images.float().roll(1, 0)) / 510


@dataclass(frozen=True)
class Noise:
    """From the global random stream."""

    def __call__(self, images: Tensor, key: Tensor) -> Tensor:
        return images / 255 + torch.rand(images.shape)


@dataclass(frozen=True)
class MixSometimes:
    """Whether a batch is mixed depends on its first key."""

    def __call__(self, images: Tensor, key: Tensor) -> Tensor:
        return images.flip(0) if uniform(key[:1], 0) < 0.5 else images


@dataclass(frozen=True, eq=False)
class MixSeeded:
    """With a partner that the key chooses from all images."""

    images: Tensor

    def __call__(self, images: Tensor, key: Tensor) -> Tensor:
        partner = self.images[key.remainder(len(self.images))]
        return (images.float() + partner.float()) / 510


@pytest.mark.parametrize("augment", [MixNeighbours(), Noise(), MixSometimes(), Compose((Flip(), MixNeighbours()))])
def test_augmentations_that_depend_on_more_than_the_key_are_refused(augment: Any) -> None:
    with pytest.raises(UsageError, match="depends on other samples or on a random stream"):
        check_seeded(augment, replace(BATCHES, augment=augment))


@pytest.mark.parametrize("augment", [None, AUGMENT, Cutout(3), Compose((Flip(), MixSeeded(split().images)))])
def test_augmentations_that_follow_from_the_key_are_accepted(augment: Any) -> None:
    check_seeded(augment, replace(BATCHES, augment=augment))
