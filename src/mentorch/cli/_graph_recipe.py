"""Recipes of graphs that are declared in a file."""

from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from mentorch.cli._recipe import Plain, Recipe, describe, option

PER_NODE = (
    "optimizer",
    "lr",
    "betas",
    "rho",
    "momentum",
    "nesterov",
    "weight_decay",
    "keras_compat",
    *(name for name in Recipe.model_fields if name.startswith("lr_")),
)
"""What a node may have for itself."""


class NodeRecipe(Plain):
    """A node of a graph in a file.

    ``random`` lets a network teach that nobody trained; ``training`` are options of its own optimiser and schedule, as
    ``{optimizer: sgd, lr: 0.1}``; ``device`` is where it lives, as ``cuda:1``.
    """

    network: str
    weights: str | None = None
    frozen: bool = False
    random: bool = False
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    training: dict[str, Any] = Field(default_factory=dict)
    device: str | None = None


class EdgeRecipe(Plain):
    """An edge of a graph in a file: ``loss: kd`` or ``loss: {kd: {temperature: 4}}``, the same for gates."""

    source: str | tuple[str, ...]
    target: str
    loss: str | dict[str, dict[str, Any]]
    gate: float | str | dict[str, dict[str, Any]] = 1.0
    adapter: bool = False
    name: str = ""


class GraphRecipe(Recipe):
    """``mentorch run``: any graph, declared in a file by its edges, or by the name of a method that draws them.

    ``preset: mutual``, or ``preset: {from_matrix: {gates: [[through, correct], [cutoff, cutoff]]}}``.
    """

    command: Literal["graph"] = "graph"
    nodes: dict[str, NodeRecipe]
    edges: tuple[EdgeRecipe, ...] = ()
    preset: str | dict[str, dict[str, Any]] | None = None
    node: str | None = option(None, "the node that is evaluated; the first learning one unless given", "Output")

    @model_validator(mode="after")
    def _drawn_once(self) -> Self:
        if bool(self.edges) == (self.preset is not None):
            raise ValueError("a graph has edges or a preset: name one of them")
        return self

    @model_validator(mode="after")
    def _trained(self) -> Self:
        for name, node in self.nodes.items():
            if node.frozen and node.training:
                raise ValueError(f"training has no effect on node {name!r}: it is frozen")
            self.training_of(name)
        return self

    def training_of(self, name: str) -> Recipe:
        """The options that a node's optimiser and schedule are made from: its own, then those of the recipe.

        Raises:
            ValueError: naming the node, for an option that it cannot have, or that has no effect beside the others.
        """
        own = self.nodes[name].training
        if strange := [option for option in own if option not in PER_NODE]:
            raise ValueError(f"node {name!r} cannot have {strange[0]!r} for itself (only {', '.join(PER_NODE)})")
        shared = {key: getattr(self, key) for key in PER_NODE if key in self.model_fields_set and key not in own}
        draft = Recipe.model_construct(**{**shared, **own})
        fitting = {key: value for key, value in shared.items() if not draft.idle(key)}
        try:
            return Recipe.model_validate({**fitting, **own})
        except ValidationError as error:
            raise ValueError(f"training of node {name!r}: {describe(error, Recipe)}") from error
