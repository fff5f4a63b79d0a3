"""The page of a map, used in a real browser, at the width of a phone and of a desk."""

import html
import json
import re
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from mentorch.reports import write_atlas_page

from . import browser

FLAGS = ("--allow-file-access-from-files", "--window-size=1400,1000", "--virtual-time-budget=20000", "--dump-dom")

USER = (Path(__file__).parent / "atlas_user.js").read_text(encoding="utf-8")

pytestmark = browser.needed


def browse(folder, page, *, widths=browser.WIDTHS):
    """What a user saw in each frame, and what the console said."""
    source = html.escape(page.read_text(encoding="utf-8"))
    frames = "".join(f'<iframe style="width:{w}px; height:900px; border:0" srcdoc="{source}"></iframe>' for w in widths)
    outer = folder / "outer.html"
    outer.write_text(f'<!doctype html><meta charset="utf-8"><script>{USER}</script><pre id="found"></pre>{frames}')
    printed, console = browser.browse(folder, outer, *FLAGS)
    seen = json.loads(html.unescape(re.search(r'<pre id="found">(.*?)</pre>', printed)[1]))
    return seen, [line for line in console if '"used"' not in line]


def nearest(folder, i, share, k, hidden=()):
    """The k nearest of a network, from the files that the page was made of."""
    tensors = load_file(folder / "map.safetensors")
    names = [network["name"] for network in json.loads((folder / "atlas.json").read_text())["networks"]]
    nodes, edges = (np.rint(tensors[part][i] * 32767) for part in ("nodes", "edges"))
    values = np.rint(((1 - share) * nodes + share * edges) / 32767 * 1e5)
    order = sorted(range(len(values)), key=lambda at: (-values[at], tensors["index"][i, at]))
    return [names[j] for at in order if (j := int(tensors["index"][i, at])) not in hidden][:k]


@pytest.fixture(scope="module")
def used(fake, tmp_path_factory):
    folder = fake.atlas(tmp_path_factory.mktemp("atlas"), 60, kept=40, failures=1)
    return folder, *browse(folder, write_atlas_page(folder))


def test_nothing_overflows_and_nothing_fails(used):
    _, views, console = used
    assert console == []
    assert [view.get("error") for view in views] == [None, None]
    for view, width in zip(views, browser.WIDTHS, strict=True):
        assert view["width"] == width
        assert view["needed"] <= width, view["outside"]
        assert view["outside"] == []
        assert view["small"] == []
        assert view["map"][0] > 300
        assert view["map"][1] > 300
        assert view["colours"] > 4  # a map is drawn
        assert view["status"] == "All 60 networks are shown."


def test_a_network_is_found_and_its_card_shown(used):
    for view in used[1]:
        assert view["found"] == 5
        assert view["searched"] == "network 0020"  # the second of the five
        for text in ("resnet8", "digits", "50.0 %", "12 kB", "ababababab", "zoo/20"):
            assert text in view["card"].replace("\u00a0", " ")
        assert view["followed"].startswith("network")
        assert view["walked"][0] != view["walked"][1]
        assert view["let_go"] == "Choose a network"
        assert view["clicked"].startswith("network")


@pytest.mark.parametrize(("share", "k"), [(0.5, 3), (0, 3), (1, 3), (0.35, 8)])
def test_teachers_follow_the_weight_and_their_number(used, share, k):
    folder, views, _ = used
    for view in views:
        assert view[f"teachers {share} {k}"] == nearest(folder, 7, share, k)
        assert view["meaning"] == "both, λ = 0.54"


def test_filters_hide_networks_from_the_map_and_from_the_teachers(used):
    folder, views, _ = used
    hidden = set(range(2, 60, 4))
    for view in views:
        assert view["filtered"][0] == "45 of 60 networks are shown."
        assert view["filtered"][1] == nearest(folder, 7, 0.5, 8, hidden)
        assert view["unfiltered"] == "All 60 networks are shown."


def test_colours_and_theme_change(used):
    for view in used[1]:
        assert view["colour"] == ["Data", "Architecture", "Task", "Community"]
        assert view["marked"] == ["Architecture"]
        assert view["theme"][0] != view["theme"][1]
        assert view["repainted"] > 4


def test_three_thousand_networks_can_be_used(fake, tmp_path):
    folder = fake.atlas(tmp_path, 3000)
    (view,), console = browse(folder, write_atlas_page(folder), widths=(1280,))
    assert console == []
    assert view.get("error") is None
    assert view["status"] == "All 3000 networks are shown."
    assert view["teachers 1 3"] == nearest(folder, 7, 1, 3)
