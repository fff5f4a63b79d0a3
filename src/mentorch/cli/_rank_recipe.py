"""The recipe of ``mentorch rank``."""

from typing import Literal, Self

from pydantic import model_validator

from mentorch.cli._recipe import Recipe, option

# what a ranking alone does not use, beside all of the training
_IDLE = frozenset(
    ("augment", "protocol", "save_students", "select", "knn", "retrieval", "diagnose", "tensorboard", "k")
)


class RankRecipe(Recipe):
    """``mentorch rank``: which networks of a zoo should teach."""

    command: Literal["rank"] = "rank"
    zoo: str = option("zoo", "folder of networks with cards (see 'mentorch zoo')", "Networks")
    reference: str | None = option(
        None, "folder of a network that is good at the target, for cka, rsa and depara", "Networks"
    )
    trust: bool = option(False, "import the packages that cards name as PACKAGE.MODULE:CALLABLE", "Networks")
    distill: str | None = option(
        None, "teach this student, a network by name, from the best, with labels, beside the student alone", "Networks"
    )
    k: int = option(1, "how many of the best teach it", "Networks", least=1)

    scores: tuple[str, ...] = option(
        ("logme", "ridge", "gbc", "knn", "leep"), "scores of transferability; the first one decides", "Methods"
    )
    at: str | None = option(
        None,
        "where features are read in all networks, such as fc:in; unless given, what enters the classifier",
        "Methods",
    )
    samples: int = option(500, "training images that are scored, balanced over classes", "Data", least=2)
    probes: int = option(64, "of these, images that attributions are computed for (depara)", "Methods", least=3)

    engine: Literal["local", "ray"] = option("local", "local: this machine; or ray", "Machine")
    workers: int = option(1, "networks that are looked at at the same time, on processors", "Machine", least=1)

    epochs: int = option(30, "passes over the training data", "Training", least=1)

    @model_validator(mode="after")
    def _rankable(self) -> Self:
        if not self.scores or len(set(self.scores)) < len(self.scores):
            raise ValueError(f"scores: name at least one, and none twice, got {list(self.scores)}")
        if not self.alone and self.device not in ("auto", "cpu"):
            raise ValueError(f"device: workers look at networks on processors, not on {self.device}: leave it, or them")
        return self

    @property
    def alone(self) -> bool:
        """Whether this process looks at all networks itself."""
        return self.engine == "local" and self.workers == 1

    def idle(self, name: str) -> str:
        """Also everything about training, unless something is trained."""
        panel = (type(self).model_fields[name].json_schema_extra or {}).get("panel")  # type: ignore[union-attr]
        if self.distill is None and (panel == "Training" or name in _IDLE):
            return "a ranking alone (only --distill)"
        return super().idle(name)
