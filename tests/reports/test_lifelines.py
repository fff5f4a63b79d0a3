import re
import xml.etree.ElementTree as ElementTree
from itertools import pairwise

import pytest

from mentorch.reports._lifelines import lifelines
from mentorch.reports._links import plan
from mentorch.reports._plot import SCALE
from mentorch.reports._svg import Measured


def draw(graph, measured=None):
    return lifelines(plan(graph), measured or Measured())


def boxes(svg, tag):
    root = ElementTree.fromstring(svg)
    return root, [item for item in root.iter() if item.tag.endswith(tag)]


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_nodes_never_overlap_and_stay_inside(fake, n):
    root, rects = boxes(draw(fake.mutual(n)), "}rect")
    _, _, width, height = map(float, root.get("viewBox").split())
    spans = sorted((float(r.get("x")), float(r.get("x")) + float(r.get("width"))) for r in rects)
    assert len(spans) == n + 1  # the labels are a column too
    assert spans[0][0] >= 0
    assert spans[-1][1] <= width
    assert all(left[1] < right[0] for left, right in pairwise(spans))
    assert all(float(r.get("y")) + float(r.get("height")) < height for r in rects)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_edge_labels_never_overlap(fake, n):
    _, texts = boxes(draw(fake.mutual(n)), "}text")
    places = [(float(t.get("y")), float(t.get("x"))) for t in texts if float(t.get("y")) > 60]
    rows = sorted({y for y, _ in places})
    assert len(places) == len(rows) == 2 * n * n  # one line of its own for every label
    assert min(b - a for a, b in pairwise(rows)) >= 20


def test_every_edge_is_drawn_from_all_its_sources(fake):
    svg = draw(fake.graph("dkd"))
    assert svg.count("<circle") == 3  # labels; teacher and labels
    assert "teacher, labels -&gt; student: dkd" in svg
    assert "gate 0.9" in svg


def test_taps_are_written_at_the_edge(fake):
    assert "gate linear_down · fc:in → fc:in" in draw(fake.graph("pkt"))


def test_frozen_is_shaded_learning_is_outlined_data_is_dashed(fake):
    rects = re.findall(r'<g><title>(\w+) .*?<rect[^>]*style="([^"]*)"', draw(fake.graph("kd")))
    styles = dict(rects)
    assert "#ffffff" not in styles["teacher"]
    assert "#ffffff" in styles["student"]
    assert "dasharray" in styles["labels"]


def test_a_node_that_teaches_itself_is_a_loop(fake):
    graph = fake.mutual(1)
    graph["edges"].append({"source": ["a.layer3"], "target": "a.layer1", "loss": "attention", "gate": "0.5"})
    svg = draw(graph)
    assert "h22v12h-22" in svg
    assert "layer3 → layer1" in svg


def test_odd_names_are_escaped_and_long_ones_cut(fake):
    graph = fake.mutual(1)
    graph["nodes"][0]["name"] = "<script>" + "x" * 500
    graph["edges"] = [{"source": "a & b", "target": "<script>" + "x" * 500, "loss": '"<&', "gate": None}]
    svg = draw(graph)
    ElementTree.fromstring(svg)
    assert "<script>" not in svg
    assert float(re.search(r'width="(\d+)"', svg)[1]) <= 600


def test_accuracy_fills_the_nodes_and_is_written(fake):
    svg = draw(fake.graph("kd"), Measured({"teacher": 0.95, "student": 0.6}, low=0.6, high=0.95))
    styles = dict(re.findall(r'<g><title>(\w+) .*?<rect[^>]*style="fill: (#\w+)', svg))
    assert (styles["student"], styles["teacher"]) == SCALE
    assert "95.0 %" in svg
    assert 'rx="0"' in svg[svg.index("<title>teacher") : svg.index("<title>student")]


def test_the_gate_and_the_share_style_the_line(fake):
    graph = fake.graph("kd")
    graph["edges"][1]["gate"] = "Linear(start=0.0, end=1.0)"
    shares = {"labels -> student: cross_entropy": 0.0, "teacher, labels -> student: kd": 1.0}
    lines = re.findall(r"H[\d.]+\" style=\"[^\"]*stroke-width: ([\d.]+)([^\"]*)", draw(graph, Measured(share=shares)))
    assert [float(width) for width, _ in lines] == [1.0, 5.0]
    assert [("dasharray" in rest) for _, rest in lines] == [False, True]


def test_several_targets_are_written_at_the_edge(fake):
    graph = fake.mutual(1)
    graph["edges"] = [{"source": ["labels"], "target": "a.layer1, a.layer2", "loss": "review", "gate": "1"}]
    assert "output → layer1, layer2" in draw(graph)
