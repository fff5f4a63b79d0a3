import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from mentorch.reports._predictions import predictions

N, H, W = 2, 6, 9


def left(folder: Path, name: str, tensors: dict[str, torch.Tensor], classes: str | None = None) -> None:
    (folder / "predictions").mkdir(exist_ok=True)
    told = {"classes": json.dumps(["wall", "ball"]) if classes is None else classes}
    save_file(tensors, folder / "predictions" / f"{name}.safetensors", metadata=told)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    said = {"segmentation": torch.zeros(N, H, W, dtype=torch.uint8), "depth": torch.rand(N, 1, H, W).half() + 1}
    left(tmp_path, "target", {"images": torch.zeros(N, 3, H, W, dtype=torch.uint8), **said})
    left(tmp_path, "teachers", said)
    left(tmp_path, "branch", said)
    return tmp_path


def test_one_sheet_of_everybody_in_order(run: Path) -> None:
    notes: list[str] = []
    (sheet,) = predictions(run, ["labels", "branch"], notes, "1-")
    assert (sheet.kind, sheet.name, notes) == ("predictions", "1-predictions", [])
    assert sheet.png is not None
    assert sheet.png[:4] == b"\x89PNG"
    assert "data:image/png;base64," in sheet.inline()
    assert predictions(run, ["labels", "branch"], notes, "1-")[0].svg == sheet.svg


def test_the_animation_follows(run: Path) -> None:
    frames = [Image.new("P", (30, 20), color) for color in (1, 2)]
    frames[0].save(run / "predictions.gif", save_all=True, append_images=frames[1:])
    _, film = predictions(run, ["branch"], [])
    assert 'viewBox="0 0 30 20"' in film.svg
    assert "data:image/gif;base64," in film.inline()
    (run / "predictions.gif").write_bytes(b"<script>")
    assert len(predictions(run, ["branch"], [])) == 1


def test_a_run_without_pictures_has_none(tmp_path: Path) -> None:
    notes: list[str] = []
    assert predictions(tmp_path, ["branch"], notes) == []
    assert notes == []


def test_what_cannot_be_read_or_drawn_is_said(run: Path) -> None:
    notes: list[str] = []
    (run / "predictions" / "labels.safetensors").write_bytes(b"nonsense")
    left(run, "kd", {"depth": torch.ones(N, 1, 3, 3)})
    assert predictions(run, ["labels", "kd"], notes) == []
    assert notes[0].startswith("predictions/labels.safetensors: cannot be read")
    assert notes[1].startswith("predictions: cannot be drawn (kd: depth of shape")
    left(run, "branch", {"depth": torch.ones(N, 1, H, W)}, classes='"wall"')
    predictions(run, ["branch"], notes)
    assert notes[-1] == "predictions/branch.safetensors: cannot be read (classes are no list)"
