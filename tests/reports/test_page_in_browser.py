"""The page in a real browser, at the width of a phone and of a desk."""

import html
import json
import re

import matplotlib.image
import pytest

from mentorch import reports

from . import browser

# the page itself runs no script; this one, outside of it, looks at it in frames of a phone's and a desk's width
MEASURE = """
addEventListener("load", () => {
  const found = [...document.querySelectorAll("iframe")].map(frame => {
    const page = frame.contentDocument, root = page.documentElement;
    return {
      title: page.title, width: root.clientWidth, needed: root.scrollWidth,
      figures: [...page.querySelectorAll("figure")].map(figure => {
        const box = figure.querySelector("svg, img").getBoundingClientRect();
        return [box.width, box.height];
      }),
      outside: [...page.querySelectorAll("body *:not(.scroll *)")].filter(
        part => part.getBoundingClientRect().right > root.clientWidth + 1).map(part => part.outerHTML.slice(0, 80)),
      torn: [...page.querySelectorAll("th")].flatMap(cell => [...cell.textContent.matchAll(/[^ -]+/g)].filter(word => {
        const range = page.createRange(), end = word.index + word[0].length;
        range.setStart(cell.firstChild, word.index);
        range.setEnd(cell.firstChild, end);
        return word[0].length < 15 && range.getClientRects().length > 1;
      }).map(word => word[0])),
      text: getComputedStyle(page.body).fontSize, data: page.querySelectorAll("tbody tr").length,
    };
  });
  document.querySelector("#found").textContent = JSON.stringify(found);
  console.info("measured");
});
"""

pytestmark = browser.needed


@pytest.fixture(scope="module", params=["compare", "hard"])
def page(request, fake, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    if request.param == "compare":
        drawn = {"mutual": fake.mutual(3), "full": fake.mutual(6)}
        methods = ("scratch", "kd", "pkt", "kd+pkt", "dkd", *drawn)
        return reports.write(fake.run(folder, methods, seeds=2, looks=True, drawn=drawn))
    methods = ("scratch", *(f"method-{'long' * 12}-{i}" for i in range(5)))
    fake.run(folder, methods, seeds=2, epochs=1, name="n" * 300)
    names = [f"{letter}-{'x' * 30}" for letter in "abcde"]
    edges = [{"source": [a, "labels"], "target": b, "loss": "kl" * 20, "gate": "1"} for a in names for b in names]
    graph = {"nodes": [{"name": name, "role": "learning"} for name in names], "edges": edges}
    fake.edit(folder, lambda results: [row.update(graph=graph) for row in results["rows"]])
    fake.edit(folder, lambda results: results["rows"].append({"method": "bad", "seed": 1, "error": "e" * 400}))
    return reports.write(folder)


def test_every_figure_is_visible_and_nothing_overflows(page, tmp_path):
    source = html.escape(page.read_text())
    frames = "".join(
        f'<iframe style="width:{w}px; height:900px; border:0" srcdoc="{source}"></iframe>' for w in browser.WIDTHS
    )
    outer = tmp_path / "outer.html"
    outer.write_text(f'<!doctype html><meta charset="utf-8"><script>{MEASURE}</script><pre id="found"></pre>{frames}')
    dom, console = browser.browse(
        tmp_path, outer, "--dump-dom", "--window-size=1400,1000", "--virtual-time-budget=10000"
    )
    found = json.loads(html.unescape(re.search(r'<pre id="found">(.*?)</pre>', dom)[1]))
    # our own word proves that the console was heard; the page itself says nothing
    assert [line for line in console if "measured" not in line] == []
    assert len(console) == 1
    for view, width in zip(found, browser.WIDTHS, strict=True):
        assert view["width"] == width
        assert view["needed"] <= width, view["outside"]
        assert view["outside"] == []
        assert view["torn"] == []  # a word that is not very long stays in one piece
        assert view["title"].endswith(" · mentorch")
        assert len(view["figures"]) >= 8
        assert all(w > 150 and h > 80 for w, h in view["figures"])
        assert view["data"] > 20


def test_the_file_opens_from_disk_and_is_not_blank(page, tmp_path):
    shot = tmp_path / "shot.png"
    _, console = browser.browse(tmp_path, page, f"--screenshot={shot}", "--window-size=1280,2000")
    assert console == []
    pixels = matplotlib.image.imread(shot)[..., :3]
    assert pixels.shape[:2] == (2000, 1280)
    ink = (pixels.max(axis=-1) < 0.5).mean(axis=1)  # dark pixels of each row
    assert (ink > 0).mean() > 0.2
    assert pixels.std() > 0.05
