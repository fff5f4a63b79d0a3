"""Pictures of ``mentorch branch``: during training, and what the report draws them from."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from mentorch._files import write_atomic
from mentorch.cli._branch_recipe import BranchRecipe
from mentorch.data import Normalize, dense
from mentorch.training import Album, On, evaluating

ANIMATION = "predictions.gif"
_OFTEN = 10  # times per training, in TensorBoard


@dataclass(frozen=True)
class Pictures:
    """Some test images, and what everybody says of them.

    Attributes:
        recipe: says how many, and whether they are wanted in TensorBoard and as an animation.
        folder: of the run.
        data: on the device.
        view: what networks see.
        teachers: by task.
    """

    recipe: BranchRecipe
    folder: Path
    data: dense.DenseDataset
    view: Normalize
    teachers: Mapping[str, nn.Module]

    def shown(self) -> dense.DenseSplit:
        """The test images, evenly spaced: nothing is chosen by what is said of them."""
        test = self.data.test
        count = min(self.recipe.pictures, len(test))
        return test.select(torch.linspace(0, len(test) - 1, count, device=test.index.device).long())

    def keep_targets(self) -> None:
        """Keep the images, their targets, and what the teachers say."""
        if not self.recipe.pictures:
            return
        shown = self.shown()
        targets = {task: shown.targets[task] for task in self.recipe.tasks}
        self._write("target", {"images": shown.images, **targets})
        self._write("teachers", _small(self._of_teachers(shown)))

    def keep(self, name: str, network: nn.Module) -> None:
        """Keep what a student says."""
        if not self.recipe.pictures:
            return
        with evaluating(network):
            self._write(name, _small(network(self.view(self.shown().images.float() / 255))))

    def album(self, run: Path) -> tuple[On, ...]:
        """A callback for a training of the first seed, of a student or of one of its stages."""
        recipe, seed = self.recipe, f"seed-{self.recipe.seeds[0]}"
        wanted = recipe.pictures and (recipe.tensorboard or recipe.animate)
        if not wanted or seed not in (run.name, run.parent.name):
            return ()
        shown = self.shown()
        album = Album(
            shown.images.float() / 255,
            {task: shown.targets[task] for task in recipe.tasks},
            run,
            others={"teachers": self._of_teachers(shown)},
            classes=self.data.classes,
            title="" if run.name == seed else run.name,  # of a stage
            tensorboard=recipe.tensorboard,
            frames=recipe.animate,
        )
        return (On("epoch", album, every=1 if recipe.animate else max(1, recipe.epochs // _OFTEN)),)

    def _of_teachers(self, split: dense.DenseSplit) -> dict[str, Tensor]:
        images = self.view(split.images.float() / 255)
        with evaluating(*self.teachers.values()):
            return {task: network(images) for task, network in self.teachers.items()}

    def _write(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        from safetensors.torch import save_file

        own = {key: tensor.detach().cpu().contiguous().clone() for key, tensor in tensors.items()}
        told = {"classes": json.dumps(self.data.classes), "name": name}
        path = self.folder / "predictions" / f"{name}.safetensors"
        write_atomic(path, lambda place: save_file(own, place, metadata=told))


def _small(said: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """As much of it as a picture needs."""
    return {task: x.argmax(1).byte() if task == "segmentation" else x.half() for task, x in said.items()}
