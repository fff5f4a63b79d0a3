"""Graphs that make no sense, and are refused in one line that says why."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mentorch import Edge, Graph, UsageError, freeze, losses


def linear() -> nn.Linear:
    return nn.Linear(4, 3)


def per_sample(student: Tensor, teacher: Tensor) -> Tensor:
    return (student - teacher).square().sum(1)


def make(nodes: Any = None, edges: Any = None, **options: Any) -> Graph:
    nodes = {"student": linear(), "teacher": freeze(linear())} if nodes is None else nodes
    return Graph(nodes, [Edge("labels", "student", F.cross_entropy)] if edges is None else edges, **options)


def sharing() -> Graph:
    adapter = losses.Regressor()
    return make(edges=[Edge("teacher", "student", per_sample, adapter=adapter, name=name) for name in "ab"])


def compiled() -> Graph:
    network = torch.compile(nn.Sequential(linear()), backend="eager")
    return make({"student": network}, [Edge("labels", "student._orig_mod.0", F.cross_entropy)])


shared = linear()


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: make(edges=[Edge("techer", "student", per_sample)]), "unknown node 'techer': did you mean 'teacher'?"),
        (lambda: make(edges=[Edge("labels", "studen", per_sample)]), "unknown node 'studen': did you mean 'student'?"),
        (lambda: make(edges=[Edge(("teacher", "label"), "student", per_sample)]), "did you mean 'labels'?"),
        (
            lambda: make(
                {"student": nn.ModuleDict({"layer1": linear(), "fc": linear()})},
                [Edge("labels", "student.layer", per_sample)],
            ),
            "address 'student.layer': unknown module of 'student' 'layer': did you mean 'layer1'? (known: fc, layer1)",
        ),
        (
            lambda: make(edges=[Edge("labels", "student", per_sample), Edge("labels", "teacher", per_sample)]),
            "edge 'labels -> teacher: per_sample': node 'teacher' is frozen and cannot learn",
        ),
        (
            lambda: make({"student": linear(), "assistant": linear()}),
            "no edge points to 'assistant': freeze it, or add an edge to it",
        ),
        (
            lambda: make(edges=[Edge("labels", "student", per_sample), Edge("student", "labels", per_sample)]),
            "'labels' cannot learn, an edge must point to a node",
        ),
        (
            lambda: make(edges=[Edge("teacher", "student", per_sample), Edge("teacher", "student", per_sample)]),
            "two edges are called 'teacher -> student: per_sample': give them a name=",
        ),
        (
            lambda: make({"a": shared, "b": shared}, [Edge("labels", n, F.cross_entropy) for n in "ab"]),
            "nodes 'a' and 'b' are the same network",
        ),
        (lambda: make(views={"techer": torch.neg}), "views: there is no node 'techer' (known: student, teacher)"),
        (
            lambda: make(views={"student": nn.Sequential(linear())}),
            "the view of 'student' has weights that nobody would train: make it a part of the network, or freeze() it",
        ),
        (
            lambda: make(views={"teacher": nn.BatchNorm1d(4, affine=False)}),
            "the view of 'teacher' has statistics that would change (BatchNorm1d): make it a part of the network, "
            "or freeze() it",
        ),
        (lambda: make({"student": torch.relu}), "node 'student' is not a torch.nn.Module but <built-in"),
        (lambda: make({}, []), "a graph needs at least one node"),
        (lambda: make(devices={"tutor": "cpu"}), "devices: there is no node 'tutor' (known: student, teacher)"),
        (
            lambda: make(edges=[Edge("labels", ("student", "teacher"), per_sample)]),
            "several targets must lie in one node",
        ),
        (sharing, "edge 'a' shares a loss or adapter that owns weights: make one for each"),
        (compiled, "node 'student' is compiled: build the graph first, then graph.compile()"),
    ],
)
def test_a_graph_that_makes_no_sense_is_refused(build: Callable[[], Graph], says: str) -> None:
    with pytest.raises(UsageError) as caught:
        build()
    assert says in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["labels", "inputs", "index", "", "a.b", "a:in", "a b", "a,b", 1, None, ("a",)])
def test_a_bad_name_for_a_node_is_refused(name: Any) -> None:
    with pytest.raises(UsageError, match="cannot name a node") as caught:
        Graph({name: linear()}, [])
    assert repr(name) in str(caught.value)


def test_views_that_are_fixed_are_accepted() -> None:
    fixed = [torch.neg, nn.Dropout(0.5), nn.LayerNorm(4, elementwise_affine=False), freeze(nn.Linear(4, 4))]
    for view in [*fixed, freeze(nn.BatchNorm1d(4)), nn.BatchNorm1d(4, affine=False, track_running_stats=False)]:
        make(views={"student": view})
