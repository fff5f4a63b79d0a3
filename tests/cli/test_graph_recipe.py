import json
from typing import Any

import pytest

from mentorch import UsageError
from mentorch.cli._graph_recipe import PER_NODE, GraphRecipe
from mentorch.cli._recipe import Recipe, check

EDGE = {"source": "labels", "target": "a", "loss": "cross_entropy"}


def recipe(training: dict[str, Any] | None = None, **shared: Any) -> GraphRecipe:
    nodes = {"a": {"network": "cnn_tiny", "training": training or {}}, "b": {"network": "cnn_tiny", "frozen": True}}
    found = check(GraphRecipe, {"nodes": nodes, "edges": [EDGE], **shared})
    assert isinstance(found, GraphRecipe)
    return found


def test_a_graph_recipe_comes_back() -> None:
    values = {
        "nodes": {"a": {"network": "cnn_tiny"}, "b": {"network": "resnet", "frozen": True, "options": {"depth": 8}}},
        "edges": [
            {"source": "labels", "target": "a", "loss": "cross_entropy"},
            {"source": ["b", "labels"], "target": "a", "loss": {"dkd": {"beta": 2.0}}, "gate": {"linear": {"end": 2}}},
            {"source": "b", "target": "a", "loss": "kd", "gate": "linear", "name": "soft"},
        ],
        "node": "a",
    }
    recipe = check(GraphRecipe, values)
    assert GraphRecipe.model_validate(json.loads(json.dumps(recipe.to_plain()))) == recipe


def test_what_a_node_may_have_for_itself_are_options_of_its_optimiser_and_schedule() -> None:
    assert set(PER_NODE) <= set(Recipe.model_fields)
    assert {"lr", "lr_schedule", "lr_warmup", "optimizer"} <= set(PER_NODE)
    assert not {"epochs", "batch_size", "seeds", "device"} & set(PER_NODE)


def test_its_own_options_come_before_those_of_the_recipe() -> None:
    found = recipe({"lr": 0.5}, lr=0.1, weight_decay=0.01, epochs=3).training_of("a")
    assert (found.lr, found.weight_decay) == (0.5, 0.01)
    assert found.epochs == Recipe.model_fields["epochs"].default  # not a matter of a node
    assert recipe(lr=0.1).training_of("b").lr == 0.1


def test_shared_options_that_do_not_fit_a_node_of_its_own_kind_are_left_out() -> None:
    own = {"optimizer": "sgd", "lr_schedule": "cosine", "momentum": 0.9}
    found = recipe(own, betas=(0.5, 0.9), lr_patience=3, weight_decay=0.1).training_of("a")
    defaults = {name: field.default for name, field in Recipe.model_fields.items()}
    assert (found.optimizer, found.momentum, found.weight_decay) == ("sgd", 0.9, 0.1)
    assert (found.betas, found.lr_patience) == (defaults["betas"], defaults["lr_patience"])


@pytest.mark.parametrize(
    ("training", "complaint"),
    [
        ({"epochs": 3}, "node 'a' cannot have 'epochs' for itself (only optimizer, lr, betas"),
        ({"lr": -1}, "training of node 'a': lr: Input should be greater than 0, got -1"),
        ({"momentum": 0.9}, "training of node 'a': momentum has no effect with optimizer adam"),
        ({"nesterov": True, "optimizer": "sgd"}, "training of node 'a': nesterov needs a momentum"),
    ],
)
def test_what_a_node_cannot_have_is_refused(training: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UsageError) as error:
        recipe(training)
    assert complaint in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"edges": []}, "a graph has edges or a preset: name one of them"),
        ({"preset": "mutual"}, "a graph has edges or a preset: name one of them"),
        (
            {"nodes": {"a": {"network": "x", "frozen": True, "training": {"lr": 1}}}},
            "training has no effect on node 'a'",
        ),
        ({"nodes": {"a": {"network": "x", "depth": 8}}}, "unknown option 'nodes.a.depth'"),
        ({"nodes": {"a": {}}}, "nodes.a.network: Field required"),
        ({"edges": [{**EDGE, "weight": 2}]}, "unknown option 'edges.0.weight'"),
        ({"edges": [{**EDGE, "loss": 3}]}, "edges.0.loss"),
    ],
)
def test_a_file_that_is_no_graph_is_refused_in_one_line(values: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UsageError) as error:
        recipe(**values) if "nodes" not in values else check(GraphRecipe, {"edges": [EDGE], **values})
    assert complaint in str(error.value)
    assert "\n" not in str(error.value)
