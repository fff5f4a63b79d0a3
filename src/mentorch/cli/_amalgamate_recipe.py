"""The recipe of ``mentorch amalgamate``."""

from typing import Literal, Self

from pydantic import field_validator, model_validator

from mentorch.cli._recipe import Recipe, Seed, Weight, option

METHODS = ("scratch", "kd", "cfl", "layerwise", "recombine")
Target = Literal["joint", "standardized", "confidence", "energy", "per_teacher", "mse"]


class AmalgamateRecipe(Recipe):
    """``mentorch amalgamate``: many specialists, one student, no labels."""

    command: Literal["amalgamate"] = "amalgamate"
    data: str = option(
        "digits",
        "images to learn from, labels unused: a name, folder:PATH, or images:PATH without labels; several joined by +",
        "Data",
    )
    test: str | None = option(None, "data with labels that validates and tests; that of --data unless given", "Data")
    teachers: tuple[str, ...] = option(
        (),
        "two or more, [NAME=]FOLDER of a card that names its classes; or [NAME=]NETWORK, trained first: "
        "one for each data set joined by +, in their order",
        "Networks",
    )
    teacher_epochs: int | None = option(
        None, "epochs for teachers that are trained here; as many as the student's", "Networks", least=1
    )
    student: str = option("cnn_small", "network by name, or NAME:WEIGHTS", "Networks")
    classes: tuple[str, ...] = option((), "only these of the teachers' classes", "Networks")
    keep_teachers: int | None = option(
        None, "so many teachers, the most useful ones that know all classes; all unless given", "Networks", least=1
    )
    usefulness: str = option(
        "logme", "score of transferability that ranks them; what they say together takes the labels' place", "Networks"
    )

    methods: tuple[str, ...] = option(
        ("scratch", "kd", "cfl"),
        "scratch: from labels, to compare with; kd: the teachers' logits together; cfl: and common features; "
        "layerwise: and codes of all stages; recombine: the teachers, of one architecture, side by side and pruned",
        "Methods",
    )
    target: Target = option(
        "joint", "how the logits are joined: joint, standardized, confidence, energy, per_teacher, mse", "Methods"
    )
    temperature: float = option(1.0, "of the softmax on both sides", "Methods", above=0)
    calibrate: bool = option(False, "give each teacher the temperature that fits its validation images", "Methods")
    variant: Literal["cfl_repo", "kamal"] = option("cfl_repo", "layers of the common space: cfl_repo, kamal", "Methods")
    bandwidths: Literal["data", "released"] = option("data", "kernels of its discrepancy: data, released", "Methods")
    weight: dict[str, Weight] = option({}, "of cfl and layerwise beside kd: cfl=10 layerwise=1", "Methods")

    keep: float = option(
        0.6, "recombine: part of the merged network's parameters that is left at the end", "Methods", above=0, below=1
    )
    rounds: int = option(3, "recombine: rounds of pruning; each trains for its share of --epochs", "Methods", least=1)

    seeds: tuple[Seed, ...] = option((0,), "one repetition per seed", "Training")
    pictures: int = option(400, "test images in the pictures of the common space; 0 leaves them out", "Output", least=0)

    @field_validator("teachers", mode="after")
    @classmethod
    def _several(cls, teachers: tuple[str, ...]) -> tuple[str, ...]:
        if len(teachers) < 2:
            raise ValueError("amalgamation needs at least two: one alone is for 'mentorch distill'")
        return teachers

    @field_validator("methods", mode="after")
    @classmethod
    def _known(cls, methods: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := [name for name in methods if name not in METHODS]:
            raise ValueError(f"unknown method {unknown[0]!r} (known: {', '.join(METHODS)})")
        if not methods:
            raise ValueError("name at least one")
        return tuple(dict.fromkeys(methods))

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.test is not None and "scratch" in self.methods:
            raise ValueError("scratch learns from labels, and those of --data do not count beside --test: leave it out")
        for name in self.weight:
            if name not in ("cfl", "layerwise"):
                raise ValueError(f"weight: {name!r} has none (cfl and layerwise have one)")
            if name not in self.methods:
                raise ValueError(f"weight of {name} has no effect with methods {', '.join(self.methods)}")
        return self

    def idle(self, name: str) -> str:
        """Which other choice leaves a field without effect; empty if it has one."""
        if name in ("variant", "bandwidths", "pictures") and "cfl" not in self.methods:
            return f"methods {', '.join(self.methods)} (only cfl)"
        if name == "usefulness" and self.keep_teachers is None:
            return "all teachers: say how many with keep_teachers"
        if name in ("keep", "rounds") and "recombine" not in self.methods:
            return f"methods {', '.join(self.methods)} (only recombine)"
        if name == "temperature" and self.target == "mse":
            return "target mse"
        if name == "calibrate" and self.target == "standardized":
            return "target standardized"
        if name == "knn" and self.test is not None:
            return "test: nobody knows the classes of the training images"
        return super().idle(name)
