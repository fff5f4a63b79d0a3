import xml.etree.ElementTree as ElementTree

import pytest

from mentorch.reports import graph_text
from mentorch.reports._draw import graph_svg


@pytest.mark.parametrize("graph", [{}, {"nodes": None, "edges": 3}, {"nodes": [{}], "edges": [{}]}])
def test_a_damaged_graph_is_drawn_as_far_as_it_goes(graph):
    ElementTree.fromstring(graph_svg(graph))
    graph_text(graph)


def test_a_student_with_its_teacher_has_lifelines_and_networks_that_teach_each_other_a_ring(fake):
    assert "<polygon" not in graph_svg(fake.graph("kd"))
    assert "<polygon" in graph_svg(fake.mutual(2))


def test_graph_text_is_aligned(fake):
    assert graph_text(fake.graph("kd")).splitlines() == [
        "teacher  frozen    resnet56  855,770 parameters",
        "student  learning  resnet8   78,042 parameters",
        "labels -> student           cross_entropy  gate 0.1",
        "teacher, labels -> student  kd             gate 0.9",
    ]


def searched():
    """Receivers a and b, a frozen c; a gate of every kind."""
    rows = {"a": {"a": "1", "b": "Linear(start=0.0, end=1.0)", "c": "1"}, "b": {"a": "Linear(start=1.0, end=0.0)"}}
    edges = []
    for receiver, gates in rows.items():
        for sender, gate in gates.items():
            source, loss = ([sender], "kd") if sender != receiver else (["labels"], "cross_entropy")
            if sender == "c":
                source, loss = ["c", "labels"], "where_correct(kd)"
            edges.append({"source": source, "target": receiver, "loss": loss, "gate": gate})
    nodes = [{"name": n, "role": "frozen" if n == "c" else "learning"} for n in "abc"]
    return {"nodes": nodes, "edges": edges}


def test_graph_text_of_several_learners_is_a_matrix_of_receivers_by_senders():
    assert graph_text(searched()).splitlines() == [
        "a  learning",
        "b  learning",
        "c  frozen",
        "learns \\ from  a            b          c",
        "a              1            linear_up  correct",
        "b              linear_down  0          0",
        "labels: cross_entropy; others: kd",
    ]


def test_losses_that_differ_or_read_features_are_listed_below_the_matrix():
    graph = searched()
    graph["edges"][1] |= {"source": ["b.layer1"], "target": "a.layer2", "loss": "attention"}
    lines = graph_text(graph).splitlines()
    assert "b.layer1 -> a.layer2  attention          gate linear_up" in lines
    assert len(lines) == 3 + 3 + 4


def test_the_matrix_is_that_of_the_methods():
    from torch import nn

    from mentorch.comparison import describe_graph
    from mentorch.methods import from_matrix, to_matrix

    rows = [["linear_up", "correct", "through"], ["cutoff", "through", 0.5], ["cutoff", "cutoff", "cutoff"]]
    graph = from_matrix({name: nn.Linear(2, 3) for name in ("target", "peer", "teacher")}, rows)
    ours = graph_text(describe_graph(graph)).splitlines()[3:-1]
    assert ours == to_matrix(graph).splitlines()[: len(ours)]
