import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from mentorch import networks, zoo
from mentorch.data import load


def test_weights_alone_carry_the_card(mentorch, taught: Path) -> None:
    result = mentorch("export", taught, "student.safetensors")
    assert (result.code, result.out) == (0, "student.safetensors\n")
    with safe_open("student.safetensors", "pt") as file:
        card = json.loads(file.metadata()["card"])
    assert card == json.loads((taught / "card.json").read_text())
    network = networks.load_weights(networks.build("cnn_small", num_classes=10, in_channels=1), "student.safetensors")
    assert networks.state_hash(network) == card["hash"]


def test_a_folder_is_the_network_again(mentorch, taught: Path) -> None:
    assert mentorch("export", taught.parents[1], "mine").code == 0  # of a run that keeps one
    assert zoo.read("mine") == zoo.read(taught)
    assert mentorch("zoo", "check", "mine").code == 0


def test_which_network_of_a_run_has_to_be_said(mentorch, taught: Path) -> None:
    for name in ("a", "b"):
        shutil.copytree(taught, Path("run/nodes") / name)
        path = Path("run/nodes") / name / "card.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"name": name}))
    result = mentorch("export", "run", "mine")
    assert result.code == 2
    assert "run keeps 2 networks, name one: run/nodes/a, run/nodes/b" in result.error
    assert mentorch("export", "run/nodes/b", "mine").code == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("student.pth",), "known are .safetensors, .pt2, .onnx, or a folder"),
        (("student.safetensors", "--prepare"), "--prepare is for .pt2 and .onnx"),
        (("there.onnx",), "there.onnx exists"),
    ],
)
def test_what_makes_no_sense_is_refused_and_writes_nothing(mentorch, taught: Path, words, told: str) -> None:
    Path("there.onnx").write_text("mine")
    result = mentorch("export", taught, *words)
    assert result.code == 2
    assert told in result.error
    assert sorted(path.name for path in Path().iterdir()) == ["there.onnx"]
    assert Path("there.onnx").read_text() == "mine"


def test_a_source_that_is_not_there_is_named(mentorch) -> None:
    assert "nowhere is no folder" in mentorch("export", "nowhere", "x.onnx").error


def test_damaged_weights_are_not_exported(mentorch, taught: Path) -> None:
    folder = shutil.copytree(taught, Path("copy"))
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 64
    (folder / "model.safetensors").write_bytes(bytes(content))
    result = mentorch("export", folder, "x.safetensors")
    assert result.code == 1
    assert "is not what its card says" in result.error
    assert not Path("x.safetensors").exists()


def test_without_onnx_the_extra_is_named(mentorch, taught: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    result = mentorch("export", taught, "x.onnx")
    assert result.code == 2
    assert "pip install 'mentorch[onnx]'" in result.error


@pytest.mark.parametrize("name", ["student.pt2", "student.onnx"])
def test_a_program_that_prepares_its_images_knows_what_the_network_knows(mentorch, taught: Path, name: str) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX is an extra")
    result = mentorch("export", taught, name, "--prepare")
    assert result.code == 0, result.err
    assert "images in [0, 1] [N, 1, 8, 8] -> output [N, 10]" in result.err
    network, card = zoo.load(taught)
    images = load("digits").test.images[:50].float() / 255
    with torch.no_grad():
        expected = zoo.prepared(network, card)(images)
        if name.endswith("pt2"):
            extra = {"card.json": ""}
            found = torch.export.load(name, extra_files=extra).module()(images)
            carried = extra["card.json"]
        else:
            session = onnxruntime.InferenceSession(name, providers=["CPUExecutionProvider"])
            found = torch.from_numpy(session.run(["output"], {"images": images.numpy()})[0])
            carried = session.get_modelmeta().custom_metadata_map["card"]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert json.loads(carried)["hash"] == card.hash


@pytest.mark.parametrize("prepare", [False, True])
def test_an_exported_program_goes_back_into_a_zoo_with_its_card(mentorch, taught: Path, prepare: bool) -> None:
    assert mentorch("export", taught, "student.pt2", *["--prepare"] * prepare).code == 0
    refused = mentorch("zoo", "add", "student.pt2", "zoo", "--mean", "0.5", "--std", "0.5")
    assert "has a card that says what it is fed" in refused.error
    assert mentorch("zoo", "add", "student.pt2", "zoo", "--name", "student").code == 0
    before, after = zoo.load(taught), zoo.load(Path("zoo/student"))
    assert (after[1].classes, after[1].dataset, after[1].metrics) == (
        before[1].classes,
        before[1].dataset,
        before[1].metrics,
    )
    assert after[1].input.mean == ((0.0,) if prepare else before[1].input.mean)
    images = load("digits").test.images[:50].float() / 255
    with torch.no_grad():  # as every network of a zoo is shown images
        expected, found = (zoo.prepared(*each)(images) for each in (before, after))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
