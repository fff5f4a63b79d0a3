"""The map of a zoo as one HTML file, from the files that an atlas left."""

import base64
import json
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from mentorch._errors import RunError
from mentorch._files import read_json, write_text
from mentorch.reports._format import count, shorten, text

SCHEMA = "mentorch.atlas/1"
_PARTS = ("data.js", "map.js", "panel.js", "controls.js")
_LARGEST = 32767


@dataclass(frozen=True, eq=False)
class Chart:
    """What an atlas left in a folder.

    Attributes:
        record: ``atlas.json``.
        tensors: ``map.safetensors``, arrays by name.
    """

    record: dict[str, Any]
    tensors: dict[str, Any]


def read_atlas(folder: Path) -> Chart:
    """Read the files of an atlas.

    Raises:
        RunError: if one is missing, damaged, or of another atlas.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    record = read_json(folder / "atlas.json")
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        raise RunError(f"{folder / 'atlas.json'} is not an atlas: its schema is not {SCHEMA!r}")
    path = folder / "map.safetensors"
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise RunError(f"{path} cannot be read: {error}") from error
    if len(tensors.get("index", ())) != len(record["networks"]):
        raise RunError(f"{path} does not belong to atlas.json: write the atlas again")
    return Chart(record, tensors)


def write_atlas_page(folder: Path) -> Path:
    """Write ``atlas.html`` beside the files of an atlas: it needs nothing but itself, and asks no other machine.

    Raises:
        RunError: if the files cannot be read, or the folder cannot be written.
    """
    chart = read_atlas(folder)
    home = files("mentorch.reports") / "atlas"
    page = Template((home / "page.html").read_text(encoding="utf-8")).substitute(
        title=escape(shorten(text(chart.record["made"].get("name") or folder.resolve().name), 80)),
        about=escape(_about(chart.record)),
        style=(home / "style.css").read_text(encoding="utf-8"),
        failures=_failures(chart.record["failures"]),
        data=_data(chart),
        script="\n".join((home / part).read_text(encoding="utf-8") for part in _PARTS),
    )
    write_text(folder / "atlas.html", page)
    return folder / "atlas.html"


def _about(record: dict[str, Any]) -> str:
    probes = record["made"].get("probes")
    of = f" from {', '.join(map(text, probes))}" if probes else ""
    return (
        f"{count(len(record['networks']))} networks, asked about {count(record['frame']['count'])} images{of}: "
        "near each other where they look at the same and relate images in the same way"
    )


def _failures(failures: list[dict[str, str]]) -> str:
    if not failures:
        return ""
    rows = "".join(f"<dt>{escape(text(f['name']))}</dt><dd>{escape(text(f['reason']))}</dd>" for f in failures[:200])
    more = f"<dt>and {len(failures) - 200} more</dt>" if len(failures) > 200 else ""
    title = f"{count(len(failures))} {'network is' if len(failures) == 1 else 'networks are'} not on the map"
    return f'<details class="group" id="failures"><summary>{title}</summary><dl>{rows}{more}</dl></details>'


def _data(chart: Chart) -> str:
    """What the page draws, as JSON: similarities in steps of 1 / 32767, positions in steps of their reach / 32767."""
    import numpy as np

    record, found = chart.record, chart.tensors
    reach = float(np.abs(found["layout"]).max(initial=0)) or 1.0
    wide = len(record["networks"]) > 2**16
    data = {
        "networks": [_short(network) for network in record["networks"]],
        "kept": found["index"].shape[1],
        "index": _packed(found["index"].astype("<u4" if wide else "<u2")),
        "wide": wide,
        "nodes": _packed(_fixed(found["nodes"])),
        "edges": _packed(_fixed(found["edges"])),
        "layout": _packed(_fixed(found["layout"] / reach)),
        "reach": reach,
        "shares": found["shares"].tolist(),
        "share": record["weight"] / (1 + record["weight"]),
        "k": record["k"],
        "most": max(1, min(20, found["index"].shape[1])),
    }
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")


def _short(network: dict[str, Any]) -> dict[str, Any]:
    """The facts that a card shows; where a network is drawn is in the layout."""
    shown = {name: value for name, value in network.items() if name not in ("x", "y", "version")}
    return shown | ({"hash": str(network["hash"])[:12]} if "hash" in network else {})


def _fixed(values: Any) -> Any:
    import numpy as np

    return np.rint(np.clip(values, -1, 1) * _LARGEST).astype("<i2")


def _packed(values: Any) -> str:
    return base64.b64encode(values.tobytes()).decode()
