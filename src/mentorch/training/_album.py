"""What a network says of the same images, epoch after epoch: in TensorBoard, and as an animation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from mentorch._errors import UsageError
from mentorch._files import write_atomic
from mentorch.data import dense
from mentorch.training._evaluate import evaluating
from mentorch.training._training import Training

if TYPE_CHECKING:
    from PIL.Image import Image

FRAMES = "frames"


@dataclass(frozen=True, eq=False)
class Album:
    """Shows what a network for dense tasks says of some images; to be called after an epoch.

    ``On("epoch", Album(images, targets, "runs/first"), every=5)`` puts a sheet (:func:`mentorch.data.dense.sheet`) into
    the TensorBoard events of the run, and with ``frames`` also into files from which :func:`animate` makes a film. The
    run itself is not changed by that.

    Args:
        images: in [0, 1], shape ``[N, C, H, W]``, where the network is.
        targets: task -> targets of these images.
        run: folder of the run.
        node: whose network; its outputs are one tensor, for the only task, or a mapping of task to tensor.
        others: title -> task -> what others say, teachers for example; shown between target and student.
        classes: of the segmentation.
        title: in front of the number of the epoch: a stage, say.
        tensorboard: whether to write events.
        frames: whether to write files.
    """

    images: Tensor
    targets: Mapping[str, Tensor]
    run: str | Path
    node: str = "student"
    others: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)
    classes: Sequence[str] = ()
    title: str = ""
    tensorboard: bool = True
    frames: bool = False

    def __call__(self, training: Training) -> None:
        """Show what the node says now.

        Raises:
            UsageError: for one output beside several tasks.
        """
        network, view = training.kept(self.node), training.graph.views.get(self.node)
        with evaluating(network):
            output = network(self.images if view is None else view(self.images))
        columns = {"target": self.targets, **self.others, self.node: self._by_task(output)}
        title = f"{self.title}, epoch {training.epoch}" if self.title else f"epoch {training.epoch}"
        picture = dense.sheet(self.images, columns, classes=self.classes, title=title)
        if self.tensorboard:
            self._write_event(picture, training.step)
        if self.frames:
            path = Path(self.run) / FRAMES / f"{training.epoch:06d}.png"
            write_atomic(path, lambda place: picture.save(place, format="PNG"), durable=False)

    def _by_task(self, output: Any) -> Mapping[str, Tensor]:
        if not isinstance(output, Tensor):
            return {task: said for task, said in output.items() if task in self.targets}
        if len(self.targets) != 1:
            raise UsageError(f"{self.node!r} gives one output, and there are targets of {', '.join(self.targets)}")
        return dict.fromkeys(self.targets, output)

    def _write_event(self, picture: "Image", step: int) -> None:
        import numpy as np
        from torch.utils.tensorboard import SummaryWriter

        # a folder of its own: TensorBoard reads one file of a folder at a time
        with SummaryWriter(str(Path(self.run) / "tensorboard" / "pictures")) as writer:
            writer.add_image("predictions", np.asarray(picture), step, dataformats="HWC")


def animate(runs: Sequence[str | Path], path: str | Path, *, seconds: float = 0.4) -> Path:
    """A GIF of the frames that albums left in run folders, one run after the other; the last frame stays longer.

    Args:
        runs: folders of runs, in order.
        path: file to write.
        seconds: that a frame is shown.

    Raises:
        UsageError: if there is no frame.
    """
    from PIL import Image

    files = [file for run in runs for file in sorted((Path(run) / FRAMES).glob("*.png"))]
    if not files:
        raise UsageError(f"there are no frames in {', '.join(map(str, runs)) or 'no folder'}: an Album writes them")
    pictures = []
    for file in files:
        with Image.open(file) as picture:
            pictures.append(picture.convert("P", palette=Image.Palette.ADAPTIVE, colors=256))
    times = [round(1000 * seconds)] * (len(files) - 1) + [round(5000 * seconds)]

    def write(place: Path) -> None:
        pictures[0].save(place, format="GIF", save_all=True, append_images=pictures[1:], duration=times, loop=0)

    write_atomic(Path(path), write)
    return Path(path)
