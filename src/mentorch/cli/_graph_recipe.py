"""Recipes of graphs that are declared in a file."""

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from mentorch.cli._recipe import Recipe, option


class NodeRecipe(BaseModel):
    """A node of a graph in a file; ``random`` lets a network teach that nobody trained."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    network: str
    weights: str | None = None
    frozen: bool = False
    random: bool = False
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    options: dict[str, Any] = Field(default_factory=dict)


class EdgeRecipe(BaseModel):
    """An edge of a graph in a file: ``loss: kd`` or ``loss: {kd: {temperature: 4}}``, the same for gates."""

    model_config = ConfigDict(extra="forbid", frozen=True)
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
