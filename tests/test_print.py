from torch import nn

from mentorch import Edge, Graph, freeze


def test_a_graph_prints_as_a_list_of_nodes_and_edges() -> None:
    nodes = {"student": nn.Linear(4, 3), "teacher": freeze(nn.Linear(4, 3))}
    graph = Graph(nodes, [Edge("teacher", "student", nn.MSELoss(), gate=0.5)])
    assert repr(graph).splitlines() == [
        "Graph",
        "  student  learning  Linear, 15 parameters",
        "  teacher  frozen    Linear, 15 parameters",
        "  teacher -> student: MSELoss  x 0.5",
    ]


def test_a_graph_prints_before_its_networks_have_weights() -> None:
    graph = Graph({"a": nn.LazyLinear(3)}, [Edge("labels", "a", nn.functional.cross_entropy)])
    assert "a  learning  LazyLinear, not yet initialised" in repr(graph)
