"""Recipes: what was asked for, as data. Every option of the command line is a field here, described once."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, get_origin

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from mentorch._errors import UsageError
from mentorch.cli._notation import known, options_of

OPTIMIZERS = ("adam", "adamw", "adamax", "rmsprop", "sgd", "adagrad", "adadelta")
ADAMS = ("adam", "adamw", "adamax")

# an option that would have no effect is an error: field -> when it has one
_APPLIES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "betas": ("optimizer", ADAMS),
    "rho": ("optimizer", ("rmsprop", "adadelta")),
    "momentum": ("optimizer", ("sgd", "rmsprop")),
    "nesterov": ("optimizer", ("sgd",)),
    "keras_compat": ("optimizer", tuple(name for name in OPTIMIZERS if name != "sgd")),
    "lr_patience": ("lr_schedule", ("plateau",)),
    "lr_factor": ("lr_schedule", ("plateau", "multistep")),
    "lr_min": ("lr_schedule", ("plateau",)),
    "lr_milestones": ("lr_schedule", ("multistep",)),
    "val_fraction": ("protocol", ("modern",)),
    "augment": ("protocol", ("modern",)),
}
SEEDS = 2**63
"""Seeds lie below it, so that what is added to them still is one for torch."""
Fraction = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]
Decay = Annotated[float, Field(ge=0, lt=1)]
Seed = Annotated[int, Field(ge=0, lt=SEEDS)]


def option(
    default: Any, text: str, panel: str, *, least: float | None = None, above: float | None = None, below: Any = None
) -> Any:
    """A field with its help text, the group under which ``--help`` shows it, and the values it may have."""
    extra: Any = {"panel": panel}
    return Field(
        default, description=text, json_schema_extra=extra, validate_default=True, ge=least, gt=above, lt=below
    )


class Plain(BaseModel):
    """What is read from YAML, where ``yes``, ``no``, ``on`` and ``off`` are truth values."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _truth(cls, value: Any, info: Any) -> Any:
        """A truth value is no number, and the word that was written where there is a choice of words."""
        annotation = cls.model_fields[info.field_name].annotation
        if get_origin(annotation) is Literal and isinstance(value, bool):
            return {True: "on", False: "off"}[value]
        number = re.search(r"\b(int|float)\b", str(annotation)) and get_origin(annotation) is not Literal
        inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else [value]
        if number and any(isinstance(part, bool) for part in inner):
            raise ValueError("it is a number, not a truth value")
        return value


class Recipe(Plain):
    """What all recipes share: data, training, and where results go."""

    data: str = option("digits", "data set: a name (see 'mentorch data list') or folder:PATH", "Data")
    data_root: str | None = option(None, "where to look for it first; then $MENTORCH_DATA and system folders", "Data")
    val_fraction: float = option(0.1, "part of the training split that validates", "Data", above=0, below=1)
    split_seed: int = option(0, "seed of the validation split", "Data", least=0, below=SEEDS)
    train_size: int | None = option(None, "use only so many training images, balanced over classes", "Data", least=1)
    image_size: int | None = option(None, "side of the images of folder:PATH", "Data", least=1)
    augment: Literal["none", "standard"] = option(
        "none", "none, or standard: pad and crop, mirror where sensible", "Data"
    )
    download: bool = option(False, "fetch the data set if it is not found", "Data")
    protocol: Literal["modern", "public"] = option(
        "modern", "public: only divided by 255, no augmentation, 30 % validation, as in the older toolkit", "Data"
    )

    epochs: int = option(125, "passes over the training data", "Training", least=1)
    batch_size: int = option(64, "images per step", "Training", least=1)
    eval_batch_size: int = option(128, "images at once in evaluation", "Training", least=1)
    accumulate: int = option(1, "batches per optimiser step", "Training", least=1)
    optimizer: Literal[OPTIMIZERS] = option("adam", ", ".join(OPTIMIZERS), "Training")  # type: ignore[valid-type]
    lr: float = option(1e-3, "learning rate", "Training", above=0)
    betas: tuple[Decay, Decay] = option((0.9, 0.999), "of adam, adamw, adamax", "Training")
    rho: float = option(0.9, "of rmsprop and adadelta", "Training", least=0, below=1)
    momentum: float = option(0.0, "of sgd and rmsprop", "Training", least=0, below=1)
    nesterov: bool = option(False, "of sgd", "Training")
    weight_decay: float = option(0.0, "weight decay", "Training", least=0)
    keras_compat: bool = option(False, "epsilon 1e-7, as Keras has it, instead of PyTorch's 1e-8", "Training")
    lr_schedule: Literal["plateau", "constant", "cosine", "multistep"] = option(
        "plateau", "plateau, constant, cosine or multistep", "Training"
    )
    lr_patience: int = option(8, "plateau: epochs without improvement before the rate falls", "Training", least=0)
    lr_factor: float = option(0.1, "plateau, multistep: factor on the rate", "Training", above=0, below=1)
    lr_min: float = option(1e-8, "plateau: lower bound of the rate", "Training", least=0)
    lr_milestones: tuple[Fraction, ...] = option((0.5, 0.75), "multistep: where, as fractions of training", "Training")
    lr_warmup: Fraction = option(0.0, "linear rise of the rate over this fraction of training", "Training")
    lr_time_decay: float = option(1e-6, "rate / (1 + this * step); 0 is off", "Training", least=0)
    early_stop: int = option(15, "stop after so many epochs without improvement; 0 is off", "Training", least=0)
    clip_norm: float | None = option(None, "limit of the gradient norm", "Training", above=0)
    clip_value: float | None = option(None, "limit of each gradient element", "Training", above=0)
    ema: float | None = option(
        None, "decay of an average of the weights, which is then evaluated", "Training", above=0, below=1
    )
    seeds: tuple[Seed, ...] = option((0,), "one repetition per seed", "Training")

    device: str = option("auto", "auto, cpu, cuda, ...", "Machine")
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] = option(
        "32-true", "32-true, bf16-mixed, 16-mixed", "Machine"
    )
    compile: bool = option(False, "compile networks and losses into one graph; pays for long runs", "Machine")
    channels_last: bool = option(False, "keep images channels-last in memory; faster for most networks", "Machine")
    threads: int | None = option(None, "processor threads", "Machine", least=1, below=4097)

    out: str = option("runs", "folder of run folders", "Output")
    name: str | None = option(None, "name of the run folder", "Output")
    select: Literal["best", "last"] = option("best", "which weights count: best on validation data, or last", "Output")
    save_students: Literal["best", "all", "none"] = option("best", "which trained students to keep", "Output")
    knn: int = option(5, "neighbours of the nearest-neighbour evaluation; 0 leaves it out", "Output", least=0)
    retrieval: bool = option(False, "also rank the training images for each test image, by the embedding", "Output")
    diagnose: bool = option(
        True, "look closer about ten times: gradients and agreement per edge, where the time goes", "Output"
    )
    tensorboard: bool = option(True, "write TensorBoard events", "Output")
    results: bool = option(True, "write report, tables and figures", "Output")

    @field_validator("*", mode="before")
    @classmethod
    def _split(cls, value: Any, info: Any) -> Any:
        """Lists may be written with commas, mappings as key=value."""
        annotation = str(cls.model_fields[info.field_name].annotation)
        if not isinstance(value, str) or not annotation.startswith(("tuple", "dict")):
            return value
        parts = [part.strip() for part in value.split(",") if part.strip()]
        if annotation.startswith("tuple"):
            return parts
        if bad := [part for part in parts if "=" not in part]:
            raise ValueError(f"{bad[0]!r} is not written KEY=VALUE")
        return dict(part.split("=", 1) for part in parts)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name in sorted(self.model_fields_set):
            if why := self.idle(name):
                raise ValueError(f"{name} has no effect with {why}")
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum")
        if self.clip_norm is not None and self.clip_value is not None:
            raise ValueError("clip_norm and clip_value exclude each other")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds: name at least one, and none twice, got {list(self.seeds)}")
        return self

    def idle(self, name: str) -> str:
        """Which other choice leaves a field without effect; empty if it has one."""
        field, values = _APPLIES.get(name, ("", ()))
        if not field or getattr(self, field) in values:
            return ""
        return f"{field} {getattr(self, field)} (only {', '.join(values)})"

    def to_plain(self) -> dict[str, Any]:
        """The recipe as plain data, without fields that have no effect; reading it back gives the same recipe."""
        plain = self.model_dump(mode="json")
        return {name: value for name, value in plain.items() if not self.idle(name) and value is not None}


class TrainRecipe(Recipe):
    """``mentorch train``: one network from labels."""

    command: Literal["train"] = "train"
    network: str = option("cnn_small", "network by name (see 'mentorch zoo networks')", "Networks")
    weights: str | None = option(
        None,
        "initial weights (safetensors, or .pt with weights only), of other classes too: all but the last layer then",
        "Networks",
    )


def check(kind: type[Recipe], values: Mapping[str, Any]) -> Recipe:
    """A recipe from plain values.

    Raises:
        UsageError: in one line, naming the option as it is written on the command line.
    """
    from pydantic import ValidationError

    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise UsageError(describe(error, kind)) from error


def describe(error: Any, kind: type[Recipe]) -> str:
    """The first problem of a validation error in one line."""
    import difflib

    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        top = list(kind.model_fields) if len(first["loc"]) == 1 else []
        if "set" in top and any(where in options_of(loss) for loss in known()):
            return f"unknown option {where!r}: what is set for losses is written 'set: {{{where}: ...}}'"
        near = difflib.get_close_matches(where, top, n=1)
        return f"unknown option {where!r}" + (f": did you mean {near[0]!r}?" if near else "")
    message = first["msg"].removeprefix("Value error, ")
    return f"{where}: {message}, got {_short(first['input'])}" if where else message


def _short(value: Any) -> str:
    try:
        shown = repr(value)
    except ValueError:  # Python does not write numbers of so many digits
        return "a number of thousands of digits"
    return shown if len(shown) <= 200 else f"{shown[:180]}...{shown[-10:]}"
