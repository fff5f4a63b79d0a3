import json
from functools import partial

import torch.nn.functional as F
from torch import nn

from mentorch import Edge, Graph, freeze, gates
from mentorch.comparison import describe_graph
from mentorch.losses import kd
from mentorch.networks import state_hash


def test_nodes_and_edges_as_data():
    teacher, student = freeze(nn.Linear(4, 3)), nn.Sequential(nn.Linear(4, 2), nn.Linear(2, 3, bias=False))
    edges = [
        Edge("labels", "student", F.cross_entropy, gate=0.1),
        Edge(("teacher", "labels"), "student", partial(kd, temperature=2.0), gate=gates.Linear(0.0, 1.0)),
        Edge("teacher", ("student.0", "student.1"), F.mse_loss, name="places"),
    ]
    found = describe_graph(Graph({"teacher": teacher, "student": student}, edges))
    assert found == {
        "nodes": [
            {"name": "teacher", "role": "frozen", "network": "Linear", "parameters": 15, "hash": state_hash(teacher)},
            {"name": "student", "role": "learning", "network": "Sequential", "parameters": 16},
        ],
        "edges": [
            {
                "source": ["labels"],
                "target": "student",
                "loss": "cross_entropy",
                "gate": "0.1",
                "name": "labels -> student: cross_entropy",
            },
            {
                "source": ["teacher", "labels"],
                "target": "student",
                "loss": "kd",
                "gate": "Linear(start=0.0, end=1.0)",
                "name": "teacher, labels -> student: kd",
            },
            {
                "source": ["teacher"],
                "target": "student.0, student.1",
                "loss": "mse_loss",
                "gate": "1",
                "name": "places",
            },
        ],
    }
    assert json.loads(json.dumps(found)) == found


def test_what_learns_is_described_without_its_weights():
    network = nn.Linear(4, 3)
    graph = Graph({"a": network}, [Edge("labels", "a", F.cross_entropy)])
    before = describe_graph(graph)
    nn.init.zeros_(network.weight)
    assert describe_graph(graph) == before
