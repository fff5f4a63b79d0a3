"""The recipes of ``mentorch evolve`` and ``mentorch slim``."""

from typing import Literal, Self

from pydantic import field_validator, model_validator

from mentorch.cli._notation import SCRATCH, parse
from mentorch.cli._recipe import Recipe, option

FINETUNE = "finetune"
_ONLY: dict[str, tuple[str, tuple[str, ...]]] = {  # field -> the option that gives it a meaning, and its values
    "keep": ("mode", ("kels", "random", "wels", "larger")),
    "redraw": ("mode", ("random", "wels")),
    "layers": ("mode", ("later",)),
}


class InTurnRecipe(Recipe):
    """Trainings that follow each other: one schedule each, and as many epochs as were asked for."""

    lr_schedule: Literal["plateau", "constant", "cosine", "multistep"] = option(
        "cosine", "plateau, constant, cosine or multistep; it begins anew with each training", "Training"
    )
    early_stop: int = option(0, "not here: everything in the table has the same number of epochs", "Training", least=0)
    select: Literal["best", "last"] = option(
        "last", "which weights count, also as the start of what follows: best on validation data, or last", "Output"
    )
    save_students: Literal["all", "none"] = option("all", "which trained networks to keep", "Output")

    @model_validator(mode="after")
    def _equal_budget(self) -> Self:
        if self.early_stop:
            raise ValueError(
                f"early_stop must be 0, got {self.early_stop}: what is compared has equal numbers of epochs"
            )
        return self


class EvolveRecipe(InTurnRecipe):
    """``mentorch evolve``: generations that keep one part of the weights and forget the other."""

    command: Literal["evolve"] = "evolve"
    network: str = option("cnn_small", "network by name, NAME:WEIGHTS, or the folder of a card", "Networks")
    teacher: str | None = option(
        None, "folder of a card, or NAME:WEIGHTS: learn from it in every generation, not from labels alone", "Networks"
    )
    method: str = option(
        "kd", "with --teacher: a loss by name, as 'mentorch methods' lists them; + adds more", "Methods"
    )
    mode: Literal["kels", "random", "wels", "later", "larger"] = option(
        "kels",
        "what is kept: kels: the first channels, so that a slim network falls out; random: random channels; "
        "wels: random weights; later: all but the later layers; larger: the larger weights of each layer",
        "Methods",
    )
    keep: float = option(0.5, "part of the channels or weights that is kept", "Methods", above=0, below=1)
    redraw: bool = option(False, "random, wels: another random choice after each generation", "Methods")
    layers: int = option(3, "later: so many of the last layers are forgotten", "Methods", least=1)
    law: Literal["uniform", "initial", "zero"] = option(
        "uniform",
        "how weights are drawn anew: uniform, as published; initial, as the network draws them itself; zero",
        "Methods",
    )
    norm: Literal["keep", "affine", "statistics", "both"] = option(
        "keep", "also forget batch norms: affine, statistics, both; or keep", "Methods"
    )
    bias: bool = option(False, "also forget biases", "Methods")
    reset_first: bool = option(False, "forget before generation 1 too, of a network that has weights", "Methods")
    label_smoothing: float = option(
        0.0, "share of each label that is spread over all classes", "Methods", least=0, below=1
    )
    baseline: bool = option(
        True,
        "also train without evolution: one training of as many epochs, with one schedule over all of them",
        "Methods",
    )
    controls: tuple[str, ...] = option(
        (),
        "of the same budget too: restarts: generations that forget nothing; "
        "slim_scratch: the slim network from fresh weights",
        "Methods",
    )
    generations: int = option(5, "how many", "Training", least=2)
    epochs: int = option(20, "of each generation", "Training", least=1)

    @field_validator("controls", mode="after")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in ("restarts", "slim_scratch"):
                raise ValueError(f"unknown control {name!r} (known: restarts, slim_scratch)")
        return tuple(dict.fromkeys(names))

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if "slim_scratch" in self.controls and self.mode not in ("kels", "random"):
            raise ValueError(
                f"controls: slim_scratch needs a slim network, and mode {self.mode} has none (only kels, random)"
            )
        if self.teacher is not None:
            check_method(self.method)
        return self

    def idle(self, name: str) -> str:
        """Which other choice leaves a field without effect; empty if it has one."""
        if name in _ONLY:
            own, values = _ONLY[name]
            return "" if getattr(self, own) in values else f"{own} {getattr(self, own)} (only {', '.join(values)})"
        if name == "method" and self.teacher is None:
            return "no teacher"
        if name == "label_smoothing" and self.teacher is not None:
            return "a teacher: the method says how labels count"
        return super().idle(name)


class SlimRecipe(InTurnRecipe):
    """``mentorch slim``: remove channels, train what is left, and so on."""

    command: Literal["slim"] = "slim"
    network: str = option("", "a network that has learned: the folder of a card, or NAME:WEIGHTS", "Networks")
    to: float = option(0.5, "part of the network that is left in the end", "Methods", above=0, below=1)
    of: Literal["macs", "parameters"] = option("macs", "of its macs (multiply-adds) or parameters", "Methods")
    by: Literal["l1", "l2", "bn", "taylor", "random"] = option(
        "l1", "importance of a channel: l1, l2 (weights), bn (batch norm scales), taylor (gradients), random", "Methods"
    )
    scope: Literal["global", "layer"] = option(
        "global", "one ranking of all channels, or the same part of each layer", "Methods"
    )
    steps: int = option(1, "remove channels in so many steps, and train after each", "Methods", least=1)
    methods: tuple[str, ...] = option(
        (FINETUNE, "kd"),
        "how what is left learns: finetune, from labels; or losses by name, as 'mentorch methods' lists them, from the "
        "whole network",
        "Methods",
    )
    baseline: bool = option(True, "also train a network of the same cost from fresh weights", "Methods")
    baseline_epochs: int | None = option(
        None,
        "its epochs; those of all steps and those that the network's card tells, unless given",
        "Training",
        least=1,
    )
    epochs: int = option(20, "of each step", "Training", least=1)

    @field_validator("methods", mode="after")
    @classmethod
    def _some_method(cls, methods: tuple[str, ...]) -> tuple[str, ...]:
        if not methods:
            raise ValueError("name at least one")
        for method in methods:
            if method != FINETUNE:
                check_method(method)
        return tuple(dict.fromkeys(methods))

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if not self.network:
            raise ValueError("network: name one that has learned: the folder of a card, or NAME:WEIGHTS")
        return self

    def idle(self, name: str) -> str:
        """Which other choice leaves a field without effect; empty if it has one."""
        return "no baseline" if name == "baseline_epochs" and not self.baseline else super().idle(name)


def check_method(method: str) -> None:
    """Raise unless ``method`` names losses that learn from a teacher.

    Raises:
        ValueError: for ``scratch``, and for a method whose student would be another network.
        UsageError: for names and options that do not exist.
    """
    if any(part.loss == SCRATCH for part in parse(method)):
        raise ValueError("scratch is no way to learn from a teacher: leave it out")
    if any(part.loss == "simkd" for part in parse(method)):
        raise ValueError("simkd is not for a network that has to stay what it is: its student gets another classifier")
