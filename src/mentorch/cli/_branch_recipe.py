"""The recipe of ``mentorch branch``."""

from collections.abc import Mapping
from typing import Literal, Self

from pydantic import field_validator, model_validator

from mentorch.cli._recipe import Seed, Weight, option
from mentorch.cli._structural_recipe import InTurnRecipe

METHODS = ("labels", "kd", "branch", "random_path", "labels_branched", "kd_branched")
TASKS = ("segmentation", "depth", "normals")
RANDOM = "random"
_OTHER = "what a dense task has no use for"
_IDLE: Mapping[str, str] = dict.fromkeys(
    ("data_root", "download", "image_size", "protocol", "knn", "retrieval", "diagnose"), _OTHER
)


class BranchRecipe(InTurnRecipe):
    """``mentorch branch``: teachers of dense tasks, one student that branches."""

    command: Literal["branch"] = "branch"
    data: str = option(
        "scenes", "scenes, or camvid:PATH, nyuv2:PATH, nyuv2-13:PATH, cityscapes:PATH, folder:PATH", "Data"
    )
    size: tuple[int, ...] = option((64,), "side of the images, or height and width", "Data")
    train_size: int | None = option(
        None, "so many training images; of scenes, also a tenth for validation and a quarter for test", "Data", least=10
    )
    augment: Literal["none", "standard"] = option(
        "none", "none, or standard: mirror, zoom by 1 to 1.5 and change colours, together with all targets", "Data"
    )
    tasks: tuple[str, ...] = option(TASKS, "one or more of segmentation, depth, normals", "Networks")
    network: str = option(
        "segnet_tiny", "segnet, segnet_tiny, unet, unet_tiny or deeplab_NAME: of teachers and student", "Networks"
    )
    teachers: dict[str, str] = option(
        {}, "TASK=FOLDER of a card, for teachers that exist; the others are trained from labels first", "Networks"
    )
    teacher_epochs: int | None = option(
        None, "epochs of teachers that are trained here; as many as all stages of the student's", "Networks", least=1
    )
    start: str | None = option(
        None,
        "what all students start as: this task's teacher, or random; the first task's unless given",
        "Networks",
    )
    methods: tuple[str, ...] = option(
        ("labels", "kd", "branch"),
        "branch: task branching; random_path: its variant with paths drawn at random; labels, kd: one shared trunk and "
        "a head for each task, from labels or from the teachers' outputs; labels_branched, kd_branched: the same with "
        "the network that branch found for that seed",
        "Methods",
    )
    segmentation: Literal["hard", "soft"] = option(
        "hard", "what is learned of a segmentation: the teacher's classes (hard, as published) or logits", "Methods"
    )
    weight: dict[str, Weight] = option({}, "of the tasks' losses, 1 unless given: depth=2", "Methods")
    train_trunk: Literal["all", "last"] = option(
        "all", "branch: at each depth all blocks of the trunk learn, or the last", "Methods"
    )
    search_epochs: int = option(5, "at each depth of the search", "Training", least=1)
    epochs: int = option(20, "after the search; everybody else has as many as all stages together", "Training", least=1)
    batch_size: int = option(16, "images per step", "Training", least=1)
    seeds: tuple[Seed, ...] = option((0,), "one repetition per seed, all from the same teachers", "Training")
    pictures: int = option(4, "test images whose predictions are shown; 0 leaves them out", "Output", least=0)
    animate: bool = option(False, "show how predictions changed over the epochs, first seed", "Output")

    @field_validator("size", mode="after")
    @classmethod
    def _one_or_two(cls, size: tuple[int, ...]) -> tuple[int, ...]:
        if len(size) not in (1, 2) or min(size) < 8:
            raise ValueError("one side, or height and width, 8 or more")
        return size

    @field_validator("tasks", "methods", mode="after")
    @classmethod
    def _known(cls, names: tuple[str, ...], info: object) -> tuple[str, ...]:
        known = TASKS if getattr(info, "field_name", "") == "tasks" else METHODS
        if unknown := [name for name in names if name not in known]:
            raise ValueError(f"unknown {unknown[0]!r} (known: {', '.join(known)})")
        if not names:
            raise ValueError("name at least one")
        return tuple(dict.fromkeys(names))

    @model_validator(mode="after")
    def _possible(self) -> Self:
        for name in ("teachers", "weight"):
            if other := [task for task in getattr(self, name) if task not in self.tasks]:
                raise ValueError(f"{name}: {other[0]!r} is none of the tasks {', '.join(self.tasks)}")
        if self.start and self.start not in (*self.tasks, RANDOM):
            raise ValueError(f"start: {self.start!r} is neither {RANDOM} nor one of the tasks {', '.join(self.tasks)}")
        if "branch" not in self.methods and (lost := [n for n in self.methods if n.endswith("_branched")]):
            raise ValueError(f"methods: {lost[0]} needs branch, which finds its network")
        return self

    def idle(self, name: str) -> str:
        """Which other choice leaves a field without effect; empty if it has one."""
        if name in ("val_fraction", "split_seed") and self.data == "scenes":
            return "scenes, which have splits of their own"
        if name in _IDLE:
            return _IDLE[name]
        if name == "train_trunk" and "branch" not in self.methods:
            return "other methods than branch"
        if name == "segmentation" and "segmentation" not in self.tasks:
            return "no segmentation"
        if name == "animate" and not self.pictures:
            return "no pictures"
        return super().idle(name)
