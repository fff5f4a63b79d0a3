"""What everybody says of some test images, side by side."""

import base64
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mentorch._errors import UsageError
from mentorch.reports._format import text
from mentorch.reports._plot import Picture

if TYPE_CHECKING:
    from torch import Tensor

FIRST = ("target", "teachers")
LARGEST = 8_000_000  # bytes of an animation that a page takes in
ANIMATION = "predictions.gif"


def predictions(folder: Path, methods: list[str], notes: list[str], prefix: str = "") -> list[Picture]:
    """A sheet of ``predictions/*.safetensors``, and the animation, if the run left them.

    ``target`` holds ``images``, uint8 ``[N, C, H, W]``, and targets by task; every other file what is said of each
    task; the names of the classes are JSON in the metadata. What cannot be read is said in ``notes``.
    """
    place = folder / "predictions"
    found: dict[str, dict[str, Tensor]] = {}
    classes: list[str] = []
    for name in (*FIRST, *methods):
        path = place / f"{name}.safetensors"
        if not path.is_file():
            continue
        try:
            found[name], told = _read(path)
            classes = classes or told
        except (OSError, ValueError, KeyError) as error:
            notes.append(f"predictions/{path.name}: cannot be read ({text(error)})")
    pictures = []
    if len(found) > 1 and "images" in found.get("target", {}):
        try:
            pictures.append(_sheet(found, classes, prefix))
        except UsageError as error:
            notes.append(f"predictions: cannot be drawn ({text(error)})")
    return pictures + _film(folder, prefix)


def _sheet(found: "dict[str, dict[str, Tensor]]", classes: list[str], prefix: str) -> Picture:
    from mentorch.data import dense

    images = found["target"]["images"]
    columns = {name: {task: x for task, x in said.items() if task != "images"} for name, said in found.items()}
    picture = dense.sheet(images, columns, classes=classes)
    file = io.BytesIO()
    picture.save(file, format="PNG", optimize=True)
    caption = f"{len(images)} test images, evenly spaced in the test split; first seed."
    return _embedded(f"{prefix}predictions", "Predictions", caption, file.getvalue(), "png", picture.size)


def _film(folder: Path, prefix: str) -> list[Picture]:
    path = folder / ANIMATION
    if not path.is_file() or path.stat().st_size > LARGEST:
        return []
    content = path.read_bytes()
    if content[:4] != b"GIF8":
        return []
    size = int.from_bytes(content[6:8], "little"), int.from_bytes(content[8:10], "little")
    caption = "How the branching student's predictions changed, epoch after epoch, stage after stage."
    return [_embedded(f"{prefix}predictions-film", "Predictions over the epochs", caption, content, "gif", size)]


def _embedded(name: str, label: str, caption: str, content: bytes, kind: str, size: tuple[int, int]) -> Picture:
    width, height = size
    data = base64.b64encode(content).decode()
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{0.75 * width:g}pt" height="{0.75 * height:g}pt" '
        f'viewBox="0 0 {width} {height}" role="img" aria-label="{label}">'
        f'<image width="{width}" height="{height}" href="data:image/{kind};base64,{data}"/></svg>'
    )
    return Picture("predictions", name, label, caption, svg, png=content if kind == "png" else None, natural=True)


def _read(path: Path) -> tuple[dict[str, Any], list[str]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
            told = json.loads((file.metadata() or {}).get("classes", "[]"))
    except SafetensorError as error:
        raise ValueError(str(error)) from error
    if not isinstance(told, list):
        raise ValueError("classes are no list")
    return tensors, [str(name) for name in told]
