import functools
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file

from mentorch import losses, networks
from mentorch.cli._baselines import _spread, baselines, keep_spaces, write_tensors
from mentorch.data import Dataset, LabelSpace, Normalize, Split
from mentorch.methods import amalgamate

SPACE = LabelSpace.union({"a": "xy", "b": "yz", "idle": "w"})


def split(labels: list[int]) -> Split:
    draw = torch.Generator().manual_seed(len(labels))
    images = torch.randint(256, (len(labels), 3, 8, 8), dtype=torch.uint8, generator=draw)
    return Split(images, torch.tensor(labels), torch.arange(len(labels)))


@pytest.fixture(scope="module")
def measured() -> tuple[dict[str, Any], dict[str, Any], Split]:
    """What is found, the teachers, and the test images: none of class w."""
    torch.manual_seed(0)
    made = {"a": networks.cnn_small(2), "b": networks.cnn_tiny(2), "idle": networks.cnn_tiny(1)}
    views = {"a": Normalize((0.5,) * 3, (0.2,) * 3), "b": None, "idle": None}
    teachers = {
        name: SimpleNamespace(
            network=net.eval(), name=f"net {name}", view=views[name], classes=SPACE.parts[name], source=""
        )
        for name, net in made.items()
    }
    test = split([0, 1, 2] * 6)
    data = Dataset.of("d", train=test, validation=test, test=test, classes=SPACE.names)
    kd = functools.partial(losses.Concatenated, target="energy")
    found = baselines(SimpleNamespace(eval_batch_size=5), teachers, SPACE, data, kd)
    return found, teachers, test


def test_each_teacher_is_measured_on_images_of_its_own_classes(measured) -> None:
    found, teachers, test = measured
    assert list(found["teachers"]) == ["a", "b", "idle"]
    images = test.images.float() / 255
    for name, seen, own in (("a", (images - 0.5) / 0.2, (0, 1)), ("b", images, (1, 2))):
        rows = torch.isin(test.labels, torch.tensor(own))
        with torch.no_grad():
            right = teachers[name].network(seen[rows]).argmax(1) == test.labels[rows] - own[0]
        assert found["teachers"][name]["test"] == {
            "accuracy": pytest.approx(float(right.double().mean())),
            "images": 12,
        }
        assert found["teachers"][name]["network"] == f"net {name}"
        assert found["teachers"][name]["classes"] == 2
    assert found["teachers"]["idle"]["test"] == {"accuracy": None, "images": 0}
    assert json.loads(json.dumps(found)) == found


def test_all_of_them_together_cost_all_of_them_and_answer_jointly(measured) -> None:
    found, teachers, test = measured
    for what in ("parameters", "macs"):
        assert found["ensemble"][what] == sum(part[what] for part in found["teachers"].values())
    assert found["ensemble"]["latency"] is not None
    kd = losses.Concatenated(blocks=list(SPACE.parts.values()), target="energy")
    images = test.images.float() / 255
    with torch.no_grad():
        logits = [
            teacher.network(images if teacher.view is None else teacher.view(images)) for teacher in teachers.values()
        ]
        right = kd.log_target(*logits).argmax(1) == test.labels
    told = found["ensemble"]["test"]
    assert told["accuracy, joint"] == pytest.approx(float(right.double().mean()))
    assert set(told) == {"accuracy, joint", "accuracy, task", "accuracy, a", "accuracy, b"}


def test_where_all_networks_put_some_images_is_kept(tmp_path: Path) -> None:
    torch.manual_seed(0)
    teachers = {"a": networks.cnn_tiny(2), "b": networks.cnn_small(2)}
    space = LabelSpace.union({"a": "xy", "b": "yz"})
    test = split([2, 1, 0] * 4)
    example = (test.images[:2].float() / 255,)
    graph = amalgamate(teachers, networks.cnn_tiny(3), losses.CommonFeatures, space=space, example=example)
    graph.train()
    keep_spaces(graph, test, 6, space.names, tmp_path / "cfl-seed-0.safetensors")
    assert graph.training
    found = load_file(tmp_path / "cfl-seed-0.safetensors")
    assert found["labels"].tolist() == [0, 0, 1, 1, 2, 2]
    assert {name.partition(".")[0] for name in found} == {"features", "common", "labels"}
    assert {name.partition(".")[2] for name in found if "." in name} == {"student", "a", "b"}
    assert all(len(tensor) == 6 for tensor in found.values())
    with safe_open(tmp_path / "cfl-seed-0.safetensors", "pt") as file:
        assert file.metadata() == {"classes": '["x", "y", "z"]', "name": "cfl-seed-0"}


@settings(max_examples=30)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=40), st.integers(1, 60))
def test_shown_samples_are_equally_many_of_each_class_as_far_as_there_are(labels: list[int], count: int) -> None:
    found = _spread(split(labels), count)
    each = max(1, count // (max(labels) + 1))
    rows = [i for k in range(max(labels) + 1) for i in [j for j, label in enumerate(labels) if label == k][:each]]
    assert found.index.tolist() == rows


def test_tensors_of_any_layout_are_written_whole(tmp_path: Path) -> None:
    whole = torch.arange(12.0).view(3, 4).requires_grad_()
    tensors = {"whole": whole, "turned": whole.T, "part": whole[1:], "wide": whole[:1].expand(2, 4)}
    path = tmp_path / "deep" / "t.safetensors"
    path.parent.mkdir()
    write_tensors(path, tensors, {"name": "t"})
    found = load_file(path)
    assert {name: tensor.tolist() for name, tensor in found.items()} == {n: t.tolist() for n, t in tensors.items()}
