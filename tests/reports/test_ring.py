import itertools
import math
import re
import xml.etree.ElementTree as ElementTree

import pytest

from mentorch.reports._links import plan
from mentorch.reports._plot import PAPER, SCALE
from mentorch.reports._ring import ring
from mentorch.reports._svg import Measured


def draw(graph, measured=None):
    return ring(plan(graph), measured or Measured())


def parts(svg, tag):
    root = ElementTree.fromstring(svg)
    return root, [item for item in root.iter() if item.tag.endswith(tag)]


def circles(svg):
    return [(float(c.get("cx")), float(c.get("cy")), float(c.get("r"))) for c in parts(svg, "}circle")[1]]


def bezier(path, steps=40):
    x0, y0, x1, y1, x2, y2 = map(float, re.findall(r"-?[\d.]+", path))
    for i in range(steps + 1):
        t = i / steps
        a, b, c = (1 - t) ** 2, 2 * t * (1 - t), t**2
        yield a * x0 + b * x1 + c * x2, a * y0 + b * y1 + c * y2


@pytest.mark.parametrize("n", [2, 3, 4, 6])
def test_nodes_stand_apart_and_everything_stays_inside(fake, n):
    svg = draw(fake.mutual(n), Measured(dict.fromkeys("abcdef", 0.9)))
    root, texts = parts(svg, "}text")
    _, _, width, height = map(float, root.get("viewBox").split())
    nodes = circles(svg)
    assert len(nodes) == n
    assert all(math.dist(a[:2], b[:2]) > 3 * a[2] for a, b in itertools.combinations(nodes, 2))
    assert all(r < x < width - r and r < y < height - r for x, y, r in nodes)
    assert all(0 <= float(t.get("y")) <= height for t in texts)
    for text in texts:  # a letter is at most 0.6 of its size wide
        size = float(re.search(r"font-size: (\d+)px", text.get("style"))[1])
        long, x = 0.6 * size * len(text.text), float(text.get("x"))
        left = x - {"start": 0, "middle": long / 2, "end": long}[text.get("text-anchor")]
        assert left >= 0
        assert left + long <= width


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6])
def test_every_pair_has_an_arrow_each_way_and_no_arrow_crosses_a_node(fake, n):
    svg = draw(fake.mutual(n))
    paths = [p.get("d") for p in parts(svg, "}path")[1] if "Q" in p.get("d")]
    assert len(paths) == n * (n - 1)
    for path in paths:
        points = list(bezier(path))
        for x, y, r in circles(svg):
            assert all(math.dist((x, y), point) > r for point in points)
    middles = [list(bezier(path))[20] for path in paths]
    assert min(math.dist(a, b) for a, b in itertools.combinations(middles, 2)) > 8  # two ways are two lines


def test_labels_are_squares_beside_their_nodes(fake):
    svg = draw(fake.mutual(3))
    squares = [r for r in parts(svg, "}rect")[1] if r.get("width") == "9"]
    assert len(squares) == 3 + 1  # and one in the legend
    for square, (x, y, r) in zip(squares[:3], circles(svg), strict=True):
        assert r < math.dist((float(square.get("x")) + 4.5, float(square.get("y")) + 4.5), (x, y)) < 2.5 * r


def test_fill_is_accuracy_and_the_legend_says_the_scale(fake):
    svg = draw(fake.mutual(2), Measured({"a": 0.5, "b": 0.9}, low=0.5, high=0.9))
    fills = [re.search(r"fill: (#\w+)", c.get("style"))[1] for c in parts(svg, "}circle")[1]]
    assert fills == list(SCALE)
    assert ">90.0<" in svg
    assert "validation accuracy, 50.0 to 90.0 %" in svg


def test_lines_tell_the_gate_and_widths_the_share(fake):
    graph = fake.mutual(3, gate="1")
    gates = ["Linear(start=0.0, end=1.0)", "Linear(start=1.0, end=0.0)", "Between(0.2, 0.4)"]
    for edge, gate in zip(graph["edges"][3:6], gates, strict=True):
        edge["gate"] = gate
    svg = draw(graph, Measured(share={graph["edges"][6]["name"]: 1.0}))
    styles = [p.get("style") for p in parts(svg, "}path")[1] if "Q" in p.get("d")]
    dashes = [re.search(r"dasharray: ([\d. ]+)", style) for style in styles]
    assert len({d and d[1] for d in dashes[:4]}) == 4
    assert dashes[3] is None
    widths = [float(re.search(r"stroke-width: ([\d.]+)", style)[1]) for style in styles]
    assert widths[3] == max(widths) == 5.0
    for words in ("constant gate", "rising gate", "falling gate", "gate that comes and goes", "share of the gradient"):
        assert words in svg


def test_the_correct_gate_has_a_hollow_head(fake):
    graph = fake.mutual(2, gate="1")
    assert PAPER not in "".join(p.get("style") for p in parts(draw(graph), "}polygon")[1])
    graph["edges"][2] |= {"source": ["a", "labels"], "loss": "where_correct(kd)"}
    svg = draw(graph)
    assert sum(f"fill: {PAPER}" in p.get("style") for p in parts(svg, "}polygon")[1]) == 1 + 1  # and the legend
    assert "counts where the sender is right" in svg


def test_a_frozen_node_has_corners_and_a_node_that_teaches_itself_a_loop(fake):
    graph = fake.mutual(3)
    graph["nodes"][2]["role"] = "frozen"
    graph["edges"] = [{"source": ["a.layer3"], "target": "a.layer1", "loss": "attention", "gate": "0.5"}]
    svg = draw(graph)
    assert len(circles(svg)) == 2
    assert "frozen: only teaches" in svg
    assert [p.get("d") for p in parts(svg, "}path")[1] if "C" in p.get("d")]


def test_several_edges_of_a_pair_run_beside_each_other(fake):
    graph = fake.mutual(2, gate="1")
    graph["edges"].append({"source": ["a.layer1"], "target": "b.layer1", "loss": "attention", "gate": "1"})
    paths = [p.get("d") for p in parts(draw(graph), "}path")[1] if "Q" in p.get("d")]
    assert len(set(paths)) == 3


def test_odd_names_are_escaped_and_long_ones_cut(fake):
    graph = fake.mutual(3)
    graph["nodes"][0]["name"] = "<script>" + "x" * 500
    graph["edges"] = [{"source": "a & b", "target": "<script>" + "x" * 500, "loss": '"<&', "gate": None}]
    svg = draw(graph)
    assert "<script>" not in svg
    assert float(parts(svg, "}text")[0].get("width")) < 900
