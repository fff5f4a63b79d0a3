"""The map of real networks in a real zoo, with many that cannot be on it."""

import shutil
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mentorch import zoo
from mentorch._errors import RunError, UsageError
from mentorch.transferability import Atlas, Lens, atlas, compare, explain, in_processes, norm


@pytest.fixture(scope="module")
def folder(keep, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("zoo")
    for i in range(4):
        keep(root, f"tiny-{i}", seed=i, dataset="a")
        keep(root, f"small-{i}", "cnn_small", seed=i, dataset="b")
    return root


@pytest.fixture(scope="module")
def made(folder: Path, images: Tensor, tmp_path_factory: pytest.TempPathFactory) -> Atlas:
    return atlas(folder, images, store=tmp_path_factory.mktemp("store"), width=None, pairs=None)


def same(first: Atlas, second: Atlas) -> bool:
    names = [entry.name for entry in first.entries] == [entry.name for entry in second.entries]
    return names and all(
        torch.equal(a, b) for a, b in zip(vars(first.near).values(), vars(second.near).values(), strict=True)
    )


def test_similarities_are_those_of_the_networks(made: Atlas, folder: Path, images: Tensor):
    assert len(made) == 8
    assert [entry.name for entry in made.entries] == [f"small-{i}" for i in range(4)] + [f"tiny-{i}" for i in range(4)]
    readings = {}
    for name in ("small-0", "tiny-1", "tiny-3"):
        readings[name] = explain(zoo.prepared(*zoo.load(folder / name)), images, at="network.fc:in")
    found = made.nearest("tiny-1", k=7, weight=0.5)
    for name in ("small-0", "tiny-3"):
        assert found[name] == pytest.approx(compare(readings["tiny-1"], readings[name]).at(0.5), abs=2e-3)
    assert list(found.values()) == sorted(found.values(), reverse=True)


def test_what_a_network_is_fed_does_not_matter_only_what_it_sees(keep, images: Tensor, tmp_path: Path):
    """The same function of images, behind three ways to feed it: colours turned round, another range, twice."""

    def turn(network: nn.Module) -> None:
        network.layer1[0].weight.copy_(network.layer1[0].weight.flip(1))

    def shrink(network: nn.Module) -> None:
        network.layer1[0].weight.div_(255)

    plain = zoo.Input(3, (8, 8), (0.4, 0.5, 0.6), (0.3, 0.3, 0.3))
    keep(tmp_path, "a", input=plain)
    keep(tmp_path, "b", change=turn, input=zoo.Input(3, (8, 8), (0.6, 0.5, 0.4), (0.3, 0.3, 0.3), "bgr"))
    far = zoo.Input(3, (8, 8), (102.0, 127.5, 153.0), (0.3, 0.3, 0.3), range=(0.0, 255.0))
    keep(tmp_path, "c", change=shrink, input=far)
    keep(tmp_path, "d", input=zoo.Input(3, (8, 8), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)))
    found = atlas(tmp_path, images, store=tmp_path / "store", width=None, pairs=None)
    first = found.nearest("a", k=3)
    assert set(list(first)[:2]) == {"b", "c"}
    assert first["b"] == pytest.approx(2, abs=1e-2)
    assert first["c"] == pytest.approx(2, abs=1e-2)
    assert first["d"] < 1.98


def test_networks_of_every_input_are_on_one_map(keep, images: Tensor, tmp_path: Path):
    for channels, side in ((1, 8), (3, 5), (3, 32)):
        order = "gray" if channels == 1 else "rgb"
        given = zoo.Input(channels, (side, side), (0.5,) * channels, (0.2,) * channels, order)
        keep(tmp_path, f"{channels}-{side}", channels=channels, input=given)
    keep(tmp_path, "silent", input=None)
    found = atlas(tmp_path, images, store=tmp_path / "store")
    assert len(found) == 4
    for a in found.entries:
        for b, value in found.nearest(a.name, k=3).items():
            assert found.nearest(b, k=3)[a.name] == pytest.approx(value, abs=1e-5)


def test_what_fails_is_named_and_stops_nobody(keep, images: Tensor, tmp_path: Path, folder: Path):
    root = tmp_path / "zoo"
    for name in ("good", "fine"):
        keep(root, name, seed=len(name))
    keep(root, "nan", change=lambda network: network.layer1[0].weight.fill_(torch.nan))
    keep(root, "flat", change=lambda network: network.layer2[1].weight.zero_())
    keep(root, "deep", input=zoo.Input(4, (8, 8), (0.0,) * 4, (1.0,) * 4, "rgbd"), channels=4)
    keep(root, "liar")
    shutil.copy(root / "good" / "model.safetensors", root / "liar" / "model.safetensors")
    keep(root, "empty")
    (root / "empty" / "model.safetensors").unlink()
    shutil.copytree(root / "good", root / "twin")
    (root / "torn").mkdir()
    (root / "torn" / "card.json").write_text("{")
    told: list[zoo.Entry] = []
    found = atlas(root, images, store=tmp_path / "store", tell=told.append)
    assert [entry.name for entry in found.entries] == ["fine", "good"]
    assert len(told) == 9
    reasons = {entry.folder.name: entry.failure for entry in found.failures}
    for name, part in {
        "nan": "not finite for 12 of 12 samples",
        "flat": "the same for all probes",
        "deep": "reads 4 channels as 'rgbd'",
        "liar": "is not what its card says: hash",
        "empty": "has a card but no model.safetensors",
        "twin": "two networks are called 'good'",
        "torn": "damaged or not JSON",
    }.items():
        assert part in reasons.pop(name), name
    assert reasons == {}


def test_an_address_that_some_do_not_have(keep, images: Tensor, tmp_path: Path):
    keep(tmp_path, "two", "cnn_small")
    for i in range(2):
        keep(tmp_path, f"three-{i}", "cnn_medium", seed=i)
    found = atlas(tmp_path, images, store=tmp_path / "store", at="layer3")
    assert [entry.name for entry in found.entries] == ["three-0", "three-1"]
    assert "unknown module 'layer3'" in found.failures[0].failure
    assert "layer2" in found.failures[0].failure


def test_probes_without_effect_are_counted(keep, images: Tensor, tmp_path: Path):
    dark = images.clone()
    dark[:2] = 0  # gradient times input is zero where there is no light
    keep(tmp_path, "a")
    assert atlas(tmp_path, dark, store=tmp_path / "dark").blank == [2]
    assert atlas(tmp_path, images, store=tmp_path / "light").blank == [0]


def test_several_processes_make_the_same_map(made: Atlas, folder: Path, images: Tensor, tmp_path: Path):
    engine = partial(in_processes, workers=2)
    assert same(made, atlas(folder, images, store=tmp_path, width=None, pairs=None, engine=engine))


def test_groups_and_layout_are_of_the_networks_on_the_map(made: Atlas):
    assert len(made.communities(k=2)) == len(made.layout[0.5]) == len(made.tree().order) == 8
    assert made.blank == [0] * 8


def test_wrong_use_is_named(made: Atlas, images: Tensor, keep, tmp_path: Path):
    with pytest.raises(UsageError, match="no network on the map is called 'tinny'"):
        made.nearest("tinny")
    with pytest.raises(RunError, match="no network is left for the atlas, 0 failed"):
        atlas([], images, store=tmp_path / "store")
    keep(tmp_path / "zoo", "deep", input=zoo.Input(4, (8, 8), (0.0,) * 4, (1.0,) * 4, "rgbd"), channels=4)
    with pytest.raises(RunError, match="1 failed: deep: images cannot be given"):
        atlas(tmp_path / "zoo", images, store=tmp_path / "store")
    with pytest.raises(UsageError, match="holds embeddings of another frame"):
        atlas(tmp_path / "zoo", images, store=tmp_path / "store", lens=Lens(scalar=norm))
