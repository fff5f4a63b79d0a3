import functools
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mentorch import Edge, Graph, UsageError, fit
from mentorch.data import Batches, Normalize, dense
from mentorch.losses import depth_l1, normal_cosine
from mentorch.networks import branched, segnet
from mentorch.training import Album, On, animate

DATA = dense.scenes((12, 16), train=6, validation=1, test=2)
VIEW = Normalize(DATA.mean, DATA.std)
IMAGES, TARGETS = DATA.test.images.float() / 255, DATA.test.targets
adam = functools.partial(torch.optim.Adam, lr=0.01)


def drawn() -> Graph:
    torch.manual_seed(0)
    make = functools.partial(segnet, widths=(4, 6), depths=(1, 1))
    student = branched(make(1), {"depth": (make(1), 1), "normals": (make(3), 2)})
    edges = [
        Edge("labels.depth", "student:depth", depth_l1),
        Edge("labels.normals", "student:normals", normal_cosine),
    ]
    return Graph({"student": student}, edges, views={"student": VIEW})


def trained(run: Path, *callbacks: On) -> Graph:
    graph = drawn()
    train = Batches(DATA.train, 3, shuffle=True)
    torch.manual_seed(0)
    fit(graph, train, optimizer=adam, epochs=4, run=run, callbacks=callbacks, tensorboard=False, progress=False)
    return graph


def album(run: Path, **options) -> Album:
    targets = {task: TARGETS[task] for task in ("depth", "normals")}
    return Album(IMAGES, targets, run, **options)


def test_a_sheet_per_epoch_in_files_and_in_tensorboard(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    own = album(tmp_path, others={"teachers": {"depth": TARGETS["depth"]}}, frames=True, title="depth-0")
    graph = trained(tmp_path, On("epoch", own, every=2))
    frames = sorted((tmp_path / "frames").iterdir())
    assert [frame.name for frame in frames] == ["000002.png", "000004.png"]
    with torch.no_grad():
        said = graph.nodes["student"].eval()(VIEW(IMAGES))
    columns = {"target": {t: TARGETS[t] for t in said}, "teachers": {"depth": TARGETS["depth"]}, "student": said}
    wanted = np.asarray(dense.sheet(IMAGES, columns, title="depth-0, epoch 4"))
    with Image.open(frames[-1]) as picture:
        assert (np.asarray(picture) == wanted).all()
    events = EventAccumulator(str(tmp_path / "tensorboard" / "pictures"), size_guidance={"images": 0})
    events.Reload()
    assert {image.step for image in events.Images("predictions")} <= {4, 8}
    assert events.Images("predictions")[-1].width == wanted.shape[1]


def test_looking_changes_nothing(tmp_path):
    seen = trained(tmp_path / "a", On("epoch", album(tmp_path / "a", frames=True)))
    alone = trained(tmp_path / "b")
    assert all(torch.equal(x, alone.state_dict()[name]) for name, x in seen.state_dict().items())
    assert seen.nodes["student"].training == alone.nodes["student"].training


def test_frames_become_a_film(tmp_path):
    trained(tmp_path / "a", On("epoch", album(tmp_path / "a", frames=True, tensorboard=False)))
    trained(tmp_path / "b", On("epoch", album(tmp_path / "b", frames=True, tensorboard=False), at=(4,)))
    assert not (tmp_path / "a" / "tensorboard").exists()
    with Image.open(animate([tmp_path / "a", tmp_path / "b"], tmp_path / "film.gif")) as film:
        assert film.n_frames in (4, 5)  # equal neighbours may be joined
        assert film.info["loop"] == 0
    with pytest.raises(UsageError, match=r"there are no frames in .*nowhere"):
        animate([tmp_path / "nowhere"], tmp_path / "film.gif")


def test_one_output_is_that_of_the_only_task(tmp_path):
    network = segnet(1, widths=(4, 6), depths=(1, 1))
    graph = Graph({"student": network}, [Edge("labels.depth", "student", depth_l1)])
    options = {"optimizer": adam, "epochs": 1, "progress": False, "tensorboard": False}
    one = Album(IMAGES, {"depth": TARGETS["depth"]}, tmp_path, tensorboard=False, frames=True)
    fit(graph, Batches(DATA.train, 3), callbacks=[On("epoch", one)], **options)
    assert (tmp_path / "frames" / "000001.png").exists()
    with pytest.raises(UsageError, match="one output, and there are targets of depth, normals"):
        fit(graph, Batches(DATA.train, 3), callbacks=[On("epoch", album(tmp_path))], **options)
