"""Recipes of transfer: one student, one or several teachers, methods by name."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import field_validator, model_validator

from mentorch.cli._notation import SCRATCH, check_settings, parse_all
from mentorch.cli._recipe import Recipe, Weight, option

# an option that would have no effect is an error: field -> losses, one of which a method must have
_OF_LOSSES: Mapping[str, tuple[str, ...]] = {"kd_supervised": ("kd",), "pkt_supervised": ("pkt",)}
_OF_TEACHERS = (
    "teacher",
    "teacher_mean",
    "teacher_std",
    "teacher_epochs",
    "teacher_train_size",
    "teacher_precision",
    "min_teacher_acc",
)
_OLDER_NAMES = {"distillation": "kd", "pkt+distillation": "kd+pkt", "distillation+pkt": "kd+pkt"}


class TransferRecipe(Recipe):
    """What ``compare`` and ``distill`` share: the networks, and how losses are set."""

    teacher: tuple[str, ...] = option(
        ("cnn_medium",),
        "zoo folder, NAME:WEIGHTS, or a network name to train first; several are sub-teachers (see --sub-teachers)",
        "Networks",
    )
    teacher_mean: tuple[float, ...] | None = option(None, "input mean of a teacher given as NAME:WEIGHTS", "Networks")
    teacher_std: tuple[float, ...] | None = option(None, "input standard deviation of that teacher", "Networks")
    teacher_epochs: int | None = option(
        None, "epochs for a teacher that is trained here; as many as the student's", "Networks", least=1
    )
    teacher_train_size: int | None = option(
        None,
        "training images for a teacher that is trained here; all of them, whatever --train-size says",
        "Networks",
        least=1,
    )
    min_teacher_acc: float | None = option(
        None,
        "stop if the teacher's validation accuracy is lower (a fraction); 1.5 times chance unless given",
        "Networks",
        least=0,
    )
    teacher_precision: Literal["32-true", "bf16"] = option(
        "32-true", "what teachers compute in, whatever the student does: 32-true, bf16", "Machine"
    )
    student: str = option("cnn_tiny", "network by name, or NAME:WEIGHTS", "Networks")
    student_weights: str | None = option(None, "initial weights of the student", "Networks")
    tap: dict[str, str] = option(
        {}, "places for foreign networks: student.embedding=fc:in teacher.stages=a;b;c", "Networks"
    )

    set: dict[str, Any] = option(
        {},
        "options of losses, of all that have it or of one: temperature=4 dkd.beta=2; also written --temperature 4 "
        "--dkd.beta 2, or in the method's name dkd:beta=2; 'mentorch methods NAME' shows what a loss has",
        "Methods",
    )
    kd_supervised: float = option(0.1, "weight of the labels' cross-entropy in methods with kd", "Methods", least=0)
    pkt_supervised: float = option(1e-4, "weight of the supervised similarity, relative to pkt's", "Methods", least=0)
    weight: dict[str, Weight] = option({}, "loss=weight, replaces a published weight: kd=1 pkt=400", "Methods")
    cache: Literal["off", "logits", "embedding"] = option(
        "off", "keep what the teacher says of each view on disk: its logits, or its embedding as well", "Methods"
    )
    views: int | None = option(
        None,
        "augmented versions of each image, the same for all methods and seeds; always new ones unless given",
        "Methods",
        least=1,
    )
    sub_teachers: Literal["mean", "winner"] = option(
        "mean",
        "several teachers: mean of their answers, or one copy of the student each and the winner takes all",
        "Methods",
    )

    @property
    @abstractmethod
    def asked(self) -> tuple[str, ...]:
        """The methods that are carried out, in order."""

    @field_validator("teacher", mode="after")
    @classmethod
    def _some_teacher(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return named(names)

    @model_validator(mode="after")
    def _typed(self) -> Self:
        """Give what was set for losses its type; what is no option of a chosen loss is refused here."""
        self.set.update(check_settings(self.set, parse_all(self.asked)))
        return self

    def idle(self, name: str) -> str:
        """Which other choice leaves a field without effect; empty if it has one."""
        losses = {part.loss for part in parse_all(self.asked)}
        methods = f"methods {', '.join(self.asked)}"
        if name in (*_OF_TEACHERS, "sub_teachers", "cache") and losses == {SCRATCH}:
            return methods
        if name == "views" and self.augment == "none":
            return "augment none"
        wanted = _OF_LOSSES.get(name, ())
        if wanted and not losses.intersection(wanted):
            return f"{methods} (only {', '.join(wanted)})"
        return super().idle(name)


class CompareRecipe(TransferRecipe):
    """``mentorch compare``: methods, the same student, several seeds."""

    command: Literal["compare"] = "compare"
    methods: tuple[str, ...] = option(
        ("scratch", "kd", "pkt", "kd+pkt"),
        "losses by name, as listed below, + adds; scratch is without teacher",
        "Methods",
    )

    @field_validator("methods", mode="after")
    @classmethod
    def _some_method(cls, methods: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(_OLDER_NAMES.get(method, method) for method in named(methods)))

    @property
    def asked(self) -> tuple[str, ...]:
        """The methods that are carried out, in order."""
        return self.methods


class DistillRecipe(TransferRecipe):
    """``mentorch distill``: one method, and the student without it beside."""

    command: Literal["distill"] = "distill"
    method: str = option("kd", "a loss by name, as listed below; + adds more", "Methods")
    baseline: bool = option(True, "also train the student without the teacher, to compare with", "Methods")

    @field_validator("method", mode="after")
    @classmethod
    def _one_method(cls, method: str) -> str:
        if method == SCRATCH:
            raise ValueError("scratch is without teacher: see mentorch train")
        return _OLDER_NAMES.get(method, method)

    @property
    def asked(self) -> tuple[str, ...]:
        """The methods that are carried out, in order."""
        return (SCRATCH, self.method) if self.baseline else (self.method,)


def named(names: tuple[str, ...]) -> tuple[str, ...]:
    """The names, if there are any."""
    if not names:
        raise ValueError("name at least one")
    return names
