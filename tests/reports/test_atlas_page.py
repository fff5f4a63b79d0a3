"""The page of a map, as a file."""

import base64
import json
import re
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from mentorch._errors import RunError
from mentorch.reports import write_atlas_page


def data_of(page: str) -> dict:
    return json.loads(re.search(r'<script id="data" type="application/json">(.*?)</script>', page, re.DOTALL)[1])


def unpacked(text: str, kind: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), kind)


def test_the_page_holds_what_the_map_does(fake, tmp_path: Path):
    folder = fake.atlas(tmp_path, 30, kept=12)
    found, tensors = data_of(write_atlas_page(folder).read_text()), load_file(folder / "map.safetensors")
    assert [network["name"] for network in found["networks"]] == [f"network {i:04}" for i in range(30)]
    assert (found["kept"], found["k"], found["share"], found["most"]) == (12, 3, 0.5, 12)
    assert unpacked(found["index"], "<u2").reshape(30, 12).tolist() == tensors["index"].tolist()
    for name in ("nodes", "edges"):
        values = unpacked(found[name], "<i2").reshape(30, 12) / 32767
        np.testing.assert_allclose(values, tensors[name], atol=2e-5)
    places = unpacked(found["layout"], "<i2").reshape(5, 30, 2) / 32767 * found["reach"]
    np.testing.assert_allclose(places, tensors["layout"], atol=1e-4)


def test_the_page_asks_nobody_else(fake, tmp_path: Path):
    page = write_atlas_page(fake.atlas(tmp_path)).read_text()
    assert "default-src 'none'" in page
    assert not re.findall(r"""(?:src|href)=|url\(|@import|fetch\(|https?://""", page)


def test_names_are_text_and_never_markup(fake, tmp_path: Path):
    folder = fake.atlas(tmp_path, failures=2, made={"name": "</title><b>"})
    record = json.loads((folder / "atlas.json").read_text())
    record["networks"][0]["name"] = "</script><img src=x onerror=alert(1)>"
    (folder / "atlas.json").write_text(json.dumps(record))
    page = write_atlas_page(folder).read_text()
    assert "<img" not in page
    assert "<b>" not in page
    assert "2 networks are not on the map" in page
    assert "&lt;torn&gt; &amp; bad" in page
    assert data_of(page)["networks"][0]["name"] == record["networks"][0]["name"]


def test_the_same_files_give_the_same_bytes(fake, tmp_path: Path):
    folder = fake.atlas(tmp_path)
    assert write_atlas_page(folder).read_bytes() == write_atlas_page(folder).read_bytes()


def test_three_thousand_networks_are_a_page_that_can_be_sent(fake, tmp_path: Path):
    assert write_atlas_page(fake.atlas(tmp_path, 3000)).stat().st_size < 4e6


def test_damaged_files_are_named(fake, tmp_path: Path):
    with pytest.raises(RunError, match=r"atlas.json does not exist"):
        write_atlas_page(tmp_path)
    folder = fake.atlas(tmp_path / "a", 9)
    fake.atlas(tmp_path / "b", 12)
    (folder / "map.safetensors").write_bytes((tmp_path / "b" / "map.safetensors").read_bytes())
    with pytest.raises(RunError, match=r"does not belong to atlas.json"):
        write_atlas_page(folder)
    (folder / "map.safetensors").write_bytes(b"{")
    with pytest.raises(RunError, match=r"map.safetensors cannot be read"):
        write_atlas_page(folder)
    (folder / "atlas.json").write_text("{}")
    with pytest.raises(RunError, match="is not an atlas"):
        write_atlas_page(folder)
