import re
import xml.etree.ElementTree as ElementTree
from itertools import pairwise

import pytest

from mentorch.reports import graph_text
from mentorch.reports._draw import graph_svg


def mutual(n, gate="Linear(start=0.0, end=1.0)"):
    names = "abcde"[:n]
    edges = [{"source": ["labels"], "target": name, "loss": "cross_entropy", "gate": "1.0"} for name in names]
    edges += [{"source": [a], "target": b, "loss": "kl", "gate": gate} for a in names for b in names if a != b]
    nodes = [{"name": name, "role": "learning", "network": "resnet20", "parameters": 272_474} for name in names]
    return {"nodes": nodes, "edges": edges}


def boxes(svg, tag):
    root = ElementTree.fromstring(svg)
    return root, [item for item in root.iter() if item.tag.endswith(tag)]


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_nodes_never_overlap_and_stay_inside(n):
    root, rects = boxes(graph_svg(mutual(n)), "}rect")
    _, _, width, height = map(float, root.get("viewBox").split())
    spans = sorted((float(r.get("x")), float(r.get("x")) + float(r.get("width"))) for r in rects)
    assert len(spans) == n + 1  # the labels are a column too
    assert spans[0][0] >= 0
    assert spans[-1][1] <= width
    assert all(left[1] < right[0] for left, right in pairwise(spans))
    assert all(float(r.get("y")) + float(r.get("height")) < height for r in rects)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_edge_labels_never_overlap(n):
    _, texts = boxes(graph_svg(mutual(n)), "}text")
    places = [(float(t.get("y")), float(t.get("x"))) for t in texts if float(t.get("y")) > 60]
    rows = sorted({y for y, _ in places})
    assert len(places) == len(rows) == 2 * n * n  # one line of its own for every label
    assert min(b - a for a, b in pairwise(rows)) >= 20


def test_every_edge_is_drawn_from_all_its_sources(fake):
    svg = graph_svg(fake.graph("dkd"))
    assert svg.count("<circle") == 3  # labels; teacher and labels
    assert "teacher, labels -&gt; student: dkd" in svg
    assert "gate 0.9" in svg


def test_taps_are_written_at_the_edge(fake):
    assert "gate Linear(1.0, 0.0) · fc:in → fc:in" in graph_svg(fake.graph("pkt"))


def test_frozen_is_shaded_learning_is_outlined_data_is_dashed(fake):
    rects = re.findall(r'<g><title>(\w+) .*?<rect[^>]*style="([^"]*)"', graph_svg(fake.graph("kd")))
    styles = dict(rects)
    assert "#ffffff" not in styles["teacher"]
    assert "#ffffff" in styles["student"]
    assert "dasharray" in styles["labels"]


def test_a_node_that_teaches_itself_is_a_loop():
    graph = mutual(1)
    graph["edges"].append({"source": ["a.layer3"], "target": "a.layer1", "loss": "attention", "gate": "0.5"})
    svg = graph_svg(graph)
    assert "h22v12h-22" in svg
    assert "layer3 → layer1" in svg


def test_odd_names_are_escaped_and_long_ones_cut():
    graph = mutual(1)
    graph["nodes"][0]["name"] = "<script>" + "x" * 500
    graph["edges"] = [{"source": "a & b", "target": "<script>" + "x" * 500, "loss": '"<&', "gate": None}]
    svg = graph_svg(graph)
    ElementTree.fromstring(svg)
    assert "<script>" not in svg
    assert float(re.search(r'width="(\d+)"', svg)[1]) <= 600


@pytest.mark.parametrize("graph", [{}, {"nodes": None, "edges": 3}, {"nodes": [{}], "edges": [{}]}])
def test_a_damaged_graph_is_drawn_as_far_as_it_goes(graph):
    ElementTree.fromstring(graph_svg(graph))
    graph_text(graph)


def test_graph_text_is_aligned(fake):
    assert graph_text(fake.graph("kd")).splitlines() == [
        "teacher  frozen    resnet56  855,770 parameters",
        "student  learning  resnet8   78,042 parameters",
        "labels -> student           cross_entropy  gate 0.1",
        "teacher, labels -> student  kd             gate 0.9",
    ]
