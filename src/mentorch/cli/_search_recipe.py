"""The recipe of ``mentorch search``."""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from mentorch.cli._recipe import Recipe, Seed, option

Positive = Annotated[float, Field(gt=0)]


class SearchRecipe(Recipe):
    """``mentorch search``: who should teach the target."""

    command: Literal["search"] = "search"
    target: str = option("cnn_tiny", "the network whose accuracy counts, by name", "Networks")
    partners: tuple[str, ...] = option(
        ("cnn_tiny", "cnn_small"), "networks that may learn beside it or teach it, by name", "Networks"
    )
    nodes: int = option(3, "how many networks a graph has, with the target", "Networks", least=2)

    gates: tuple[str, ...] = option(
        ("paper",), "what a transfer may be: gates by name, or the sets paper and fork", "Methods"
    )
    label_gates: tuple[str, ...] | None = option(
        None, "the same for edges from the labels; the gates without correct unless given", "Methods"
    )
    loss: tuple[str, ...] = option(("kd",), "losses of transfers to choose from, on logits, by name", "Methods")
    temperature: tuple[Positive, ...] = option(
        (), "temperatures to choose from; unless given 1 for kd, and for others their own", "Methods"
    )
    trials: int = option(100, "how many graphs are trained, by all workers together", "Methods", least=1)
    trial_seeds: tuple[Seed, ...] = option((0,), "each graph is trained once per seed, the mean counts", "Methods")
    sampler: Literal["tpe", "random"] = option("tpe", "tpe, or random, which is the baseline", "Methods")
    sampler_seed: int = option(0, "seed of the sampler", "Methods", least=0, below=2**32)
    pruner: Literal["none", "asha", "hyperband"] = option(
        "none", "give up the worse half once all gates have opened: none, asha, hyperband", "Methods"
    )
    evidence: Literal["none", "accuracy", "agreement"] = option(
        "none", "start with graphs of the partners that score best when trained alone", "Methods"
    )
    scores: dict[str, float] = option(
        {}, "start with graphs of the partners that score best here: name=number for each", "Methods"
    )
    finals: int = option(
        1,
        "how many of the best graphs are trained with --seeds beside the baselines; 0 ends before",
        "Methods",
        least=0,
    )
    storage: str | None = option(
        None, "where the study is kept: .journal or .db file, or database URL; study.journal unless given", "Output"
    )

    epochs: int = option(30, "passes over the training data", "Training", least=1)
    early_stop: int = option(0, "stop after so many epochs without improvement; 0 is off", "Training", least=0)
    seeds: tuple[Seed, ...] = option((1, 2, 3), "one repetition of the finals per seed", "Training")
    select: Literal["last"] = option("last", "a search judges the last epoch", "Output")

    @field_validator("gates", "label_gates", mode="after")
    @classmethod
    def _sets(cls, gates: tuple[str, ...] | None) -> tuple[str, ...] | None:
        from mentorch.search import FORK, PAPER

        known = {"paper": PAPER, "fork": FORK}
        return gates and tuple(dict.fromkeys(gate for name in gates for gate in known.get(name, (name,))))

    @model_validator(mode="after")
    def _searchable(self) -> Self:
        if self.scores and self.evidence != "none":
            raise ValueError("evidence and scores exclude each other")
        if not self.trial_seeds or len(set(self.trial_seeds)) < len(self.trial_seeds):
            raise ValueError(f"trial_seeds: name at least one, and none twice, got {list(self.trial_seeds)}")
        if self.finals and (both := set(self.seeds) & set(self.trial_seeds)):
            raise ValueError(f"seeds {sorted(both)} are used by the search already: finals need new ones")
        return self
