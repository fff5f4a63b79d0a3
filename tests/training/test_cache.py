"""The teacher cache in use: a teacher runs once per sample and view, and no number changes."""

import functools
import logging
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from mentorch import Edge, Graph, On, RunError, UsageError, fit, freeze, gates, losses
from mentorch.data import Batches, Compose, Flip, Normalize, PadCrop, Split
from mentorch.training import OpenCache, TeacherCache

SAMPLES, CLASSES, SIZE = 50, 5, 8
KD = functools.partial(losses.kd, temperature=4.0)
BOTH = ("teacher", "teacher.8:in")


def network(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
        nn.Conv2d(width, width, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Dropout(0.3),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(4 * width, CLASSES),
    )


def split(count: int = SAMPLES) -> Split:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 1, SIZE, SIZE), generator=generator, dtype=torch.uint8)
    return Split(images, torch.randint(0, CLASSES, (count,), generator=generator), torch.arange(count) * 3 + 100)


BATCHES = Batches(split(), 8, shuffle=True, augment=Compose((PadCrop(1), Flip())), views=3, seed=4)


class Runs:
    """A teacher that counts the samples it is shown."""

    def __init__(self, seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.teacher = network(6)
        for parameter in self.teacher.parameters():  # far enough from symmetric to tell one output from another
            parameter.data.add_(torch.randn_like(parameter) * 0.3)
        self.teacher = freeze(self.teacher)
        self.samples: list[int] = []
        self.teacher.register_forward_hook(lambda module, args, output: self.samples.append(len(args[0])))

    def graph(self, *edges: Edge, seed: int = 1) -> Graph:
        torch.manual_seed(seed)
        view = Normalize((0.5,), (0.25,))
        default = (Edge("labels", "student", F.cross_entropy, 0.1), Edge("teacher", "student", KD, 0.9))
        return Graph({"teacher": self.teacher, "student": network(4)}, edges or default, views={"teacher": view})

    def train(self, *edges: Edge, batches: Batches = BATCHES, epochs: int = 5, **options: Any) -> dict[str, Tensor]:
        graph = self.graph(*edges)
        self.samples.clear()
        torch.manual_seed(2)
        history = self.history = fit(
            graph,
            batches,
            optimizer=functools.partial(torch.optim.SGD, lr=0.05, momentum=0.9),
            epochs=epochs,
            device="cpu",
            **options,
        )
        losses = {f"loss {i}": torch.tensor(record["train"]["loss"]) for i, record in enumerate(history.records)}
        return {**graph.nodes["student"].state_dict(), **losses}


@pytest.fixture
def runs() -> Runs:
    return Runs()


@pytest.fixture
def cache(tmp_path: Path) -> TeacherCache:
    return TeacherCache(tmp_path / "cache")


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def close(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.allclose(one[name].double(), other[name].double(), rtol=1e-3, atol=1e-4) for name in one)


def epochs_of(opened: OpenCache, batches: Batches, epochs: int) -> dict[tuple[int, int], Tensor]:
    """(Epoch, sample) -> what is given."""
    found = {}
    for epoch in range(epochs):
        for batch in batches.iterate(epoch):
            given = opened.given(batch.inputs, batch.index, epoch=epoch)["teacher"]
            found |= {(epoch, i): row for i, row in zip(batch.index.tolist(), given, strict=True)}
    return found


# the same numbers, fewer runs


def test_cached_training_is_live_training_to_the_last_bit(runs: Runs, cache: TeacherCache) -> None:
    """Pitfall 8: with shuffling, augmentation and dropout in the student. In each epoch a new view."""
    batches = replace(BATCHES, views=None)
    live = runs.train(batches=batches)
    assert sum(runs.samples) >= 5 * SAMPLES
    cold = runs.train(batches=batches, cache=cache)
    assert sum(runs.samples) == 5 * SAMPLES + 1  # one image, for the shape
    assert runs.history.forwards == {"teacher": 5 * SAMPLES, "student": 5 * SAMPLES}
    warm = runs.train(batches=batches, cache=cache)
    assert runs.samples == []
    assert runs.history.forwards == {"student": 5 * SAMPLES}
    assert same(live, cold)
    assert same(live, warm)


def test_views_that_come_again_are_not_computed_again(runs: Runs, cache: TeacherCache) -> None:
    """Here the live teacher sees a sample among others than it did the first time: the same up to rounding."""
    live = runs.train(epochs=7)
    cold = runs.train(epochs=7, cache=cache)
    assert sum(runs.samples) == 3 * SAMPLES + 1
    warm = runs.train(epochs=7, cache=cache)
    assert runs.samples == []
    assert same(cold, warm)
    assert close(live, cold)


def test_without_augmentation_there_is_one_view(runs: Runs, cache: TeacherCache) -> None:
    batches = replace(BATCHES, augment=None, views=None)
    live = runs.train(batches=batches)
    cold = runs.train(batches=batches, cache=cache)
    assert sum(runs.samples) == SAMPLES + 1
    assert close(live, cold)
    assert [path.name for path in Path(cache.folder).glob("**/*.rows")] == ["view-00000.rows"]


def test_filling_ahead_gives_what_training_would_have(runs: Runs, cache: TeacherCache) -> None:
    live = runs.train(epochs=3)
    cache.fill(runs.graph(), BATCHES)
    runs.samples.clear()
    cache.fill(runs.graph(), BATCHES)
    assert runs.samples == []
    assert same(live, runs.train(epochs=3, cache=cache))
    assert runs.samples == []


def test_filling_ahead_shows_its_progress_on_a_terminal(
    runs: Runs, cache: TeacherCache, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cache.fill(runs.graph(), replace(BATCHES, views=1))
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    cache.fill(runs.graph(), BATCHES, progress=False)
    assert capsys.readouterr() == ("", "")
    cache.fill(runs.graph(), BATCHES)
    shown = capsys.readouterr().err
    assert "teacher [5] of 50 samples in 3 views; 0 B to write" in shown.replace("\n", "")


def test_filling_ahead_leaves_nothing_out_that_a_later_epoch_shows(runs: Runs, cache: TeacherCache) -> None:
    batches = replace(BATCHES, drop_last=True)
    cache.fill(runs.graph(), batches)
    runs.train(batches=batches, epochs=6, cache=cache)
    assert runs.samples == []


def test_more_views_go_on_from_fewer(runs: Runs, cache: TeacherCache) -> None:
    cache.fill(runs.graph(), replace(BATCHES, views=1))
    runs.samples.clear()
    cache.fill(runs.graph(), replace(BATCHES, views=3))
    assert sum(runs.samples) == 2 * SAMPLES
    runs.samples.clear()
    cache.fill(runs.graph(), replace(BATCHES, views=None), views=4)
    assert sum(runs.samples) == SAMPLES


def test_seeds_share_views(runs: Runs, cache: TeacherCache) -> None:
    first, second = (replace(BATCHES, seed=seed, view_seed=7) for seed in (0, 1))
    runs.train(batches=first, cache=cache)
    live = runs.train(batches=second)
    shared = runs.train(batches=second, cache=cache)
    assert runs.samples == []
    assert close(live, shared)
    assert not close(live, runs.train(batches=first, cache=cache))


def test_seeds_that_show_other_views_do_not_share(runs: Runs, cache: TeacherCache) -> None:
    runs.train(cache=cache)
    with pytest.raises(UsageError, match=r"for other view seed: 4 there, 5 here.*view_seed="):
        runs.train(batches=replace(BATCHES, seed=5), cache=cache)


class Named(nn.Module):
    """A network whose output is a mapping."""

    def __init__(self) -> None:
        super().__init__()
        self.network = network(6)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {"logits": self.network(images), "images": images}


def test_of_an_output_that_is_not_one_tensor_what_edges_read_is_kept(cache: TeacherCache) -> None:
    teacher, student = freeze(Named()), network(4)
    graph = Graph({"teacher": teacher, "student": student}, [Edge("teacher:logits", "student", KD)])
    cache.fill(graph, BATCHES, progress=False)
    teacher.register_forward_hook(lambda *_: pytest.fail("the teacher ran"))
    opened, batch = cache.open(graph, BATCHES), next(iter(BATCHES))
    assert list(opened.given(batch.inputs, batch.index, epoch=0)) == ["teacher:logits"]


def test_methods_share_what_they_read(runs: Runs, tmp_path: Path) -> None:
    cache = TeacherCache(tmp_path, addresses=BOTH)
    embedding = Edge("teacher.8:in", "student.8:in", losses.pkt)
    live = runs.train(embedding)
    runs.train(cache=cache)
    assert sum(runs.samples) == 3 * SAMPLES + 1
    kept = runs.train(embedding, cache=cache)
    assert runs.samples == []
    assert close(live, kept)
    assert same(kept, runs.train(embedding, cache=replace(cache, addresses=BOTH[::-1])))


def test_a_teacher_runs_while_something_is_read_that_is_not_kept(runs: Runs, cache: TeacherCache) -> None:
    pooled = Edge("teacher.7", "student.7", losses.pkt, gates.Between(0.0, 0.5))
    edges = (Edge("teacher", "student", KD), pooled)
    batches = replace(BATCHES, views=1)
    live = runs.train(*edges, batches=batches, epochs=4)
    assert len(runs.samples) == 1 + 4 * 7  # building, and every step
    cached = runs.train(*edges, batches=batches, epochs=4, cache=cache)
    early = 14
    # shape, building, steps of the first half, then what is missing
    assert len(runs.samples) == 1 + 1 + early + 7
    assert runs.history.forwards == {"teacher": 3 * SAMPLES, "student": 4 * SAMPLES}
    assert close(live, cached)
    runs.train(*edges, batches=batches, epochs=4, cache=cache)
    assert len(runs.samples) == 1 + early
    assert runs.history.forwards == {"teacher": 2 * SAMPLES, "student": 4 * SAMPLES}
    assert runs.history.backwards == {"student": 4 * SAMPLES}


def test_a_graph_without_a_teacher_needs_no_cache(runs: Runs, tmp_path: Path) -> None:
    torch.manual_seed(0)
    graph = Graph({"student": network(4)}, [Edge("labels", "student", F.cross_entropy)])
    cache = TeacherCache(tmp_path / "cache", addresses=BOTH)
    fit(graph, BATCHES, optimizer=functools.partial(torch.optim.SGD, lr=0.1), epochs=1, device="cpu", cache=cache)
    assert not (tmp_path / "cache").exists()


def test_several_teachers_are_kept_apart(tmp_path: Path) -> None:
    first, second = Runs(1), Runs(2)
    torch.manual_seed(0)
    nodes = {"a": first.teacher, "b": second.teacher, "student": network(4)}
    graph = Graph(nodes, [Edge("a", "student", KD), Edge("b", "student", KD)])
    opened = TeacherCache(tmp_path).open(graph, BATCHES)
    for _ in range(2):
        for batch in BATCHES.iterate(0):
            given = opened.given(batch.inputs, batch.index, epoch=0)
            for name in ("a", "b"):
                torch.testing.assert_close(given[name], nodes[name](batch.inputs))
    assert {path.parent.name for path in tmp_path.glob("*/card.json")} == {"a", "b"}


# precision


@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 0.0), (torch.float16, 1e-3), (torch.bfloat16, 8e-3)])
def test_kept_values_are_the_live_ones_rounded(runs: Runs, tmp_path: Path, dtype: torch.dtype, error: float) -> None:
    graph, cache = runs.graph(), TeacherCache(tmp_path, dtype=dtype)
    opened = cache.open(graph, BATCHES)
    cold, warm = epochs_of(opened, BATCHES, 1), epochs_of(cache.open(graph, BATCHES), BATCHES, 1)
    for batch in BATCHES.iterate(0):
        live = graph.predict("teacher", batch.inputs)
        for i, row in zip(batch.index.tolist(), live, strict=True):
            assert torch.equal(cold[0, i], row.to(dtype).float())
            assert torch.equal(cold[0, i], warm[0, i])  # the run that fills sees what later runs see
            assert (cold[0, i] - row).abs().max() <= error * row.abs().max()


def test_top_k_is_of_outputs_only(runs: Runs, tmp_path: Path) -> None:
    graph = runs.graph(Edge("teacher", "student", KD), Edge("teacher.8:in", "student.8:in", losses.pkt))
    opened = TeacherCache(tmp_path, addresses=BOTH, top_k=2).open(graph, BATCHES)
    batch = next(BATCHES.iterate(0))
    given = opened.given(batch.inputs, batch.index, epoch=0)
    live = graph.predict("teacher", batch.inputs)
    assert torch.equal(given["teacher"].topk(2, dim=1).values, live.topk(2, dim=1).values)
    assert not torch.equal(given["teacher"], live)
    torch.testing.assert_close(given["teacher.8:in"], runs.teacher[:8]((batch.inputs - 0.5) / 0.25))


def test_training_in_lower_precision_has_a_cache_of_its_own(runs: Runs, cache: TeacherCache) -> None:
    batches = replace(BATCHES, views=None)
    live = runs.train(batches=batches, epochs=2, precision="bf16-mixed")
    assert same(live, runs.train(batches=batches, epochs=2, precision="bf16-mixed", cache=cache))
    assert same(live, runs.train(batches=batches, epochs=2, precision="bf16-mixed", cache=cache))
    assert runs.samples == []
    with pytest.raises(UsageError, match=r"for other precision: torch\.bfloat16 there, as the network here"):
        runs.train(cache=cache)


# the loop around it


def test_a_compiled_graph_stays_one_graph(runs: Runs, cache: TeacherCache) -> None:
    graphs: list[int] = []

    def backend(module: torch.fx.GraphModule, example: list[Tensor]) -> Callable[..., Any]:
        graphs.append(1)
        return module.forward

    torch._dynamo.reset()
    batches = replace(BATCHES, drop_last=True)
    graph = runs.graph()
    graph.compile(backend=backend)
    opened = cache.open(graph, batches)
    for epoch in range(4):
        for batch in batches.iterate(epoch):
            given = opened.given(batch.inputs, batch.index, epoch=epoch)
            sum(graph(*batch, given=given).values()).backward()
    assert len(graphs) == 1
    torch._dynamo.reset()


def test_a_resumed_run_ends_with_the_same_bits(runs: Runs, tmp_path: Path) -> None:
    def stop(training: Any) -> None:
        raise KeyboardInterrupt

    whole = runs.train(cache=TeacherCache(tmp_path / "a"))
    kept = {"cache": TeacherCache(tmp_path / "b"), "run": tmp_path / "run", "tensorboard": False}
    with pytest.raises(KeyboardInterrupt):
        runs.train(**kept, checkpoint_every=1, callbacks=[On("step", stop, at=[10])])
    assert same(whole, runs.train(**kept, checkpoint_every=1, resume=True))


def test_a_run_goes_on_with_the_same_rounding_only(runs: Runs, tmp_path: Path) -> None:
    kept = {"run": tmp_path / "run", "tensorboard": False, "epochs": 1}
    runs.train(**kept, cache=TeacherCache(tmp_path / "a"))
    for other in (None, TeacherCache(tmp_path / "b", dtype=torch.float16)):
        with pytest.raises(RunError, match=r"another run: cache is 'torch\.float32, top_k=None' there"):
            runs.train(**kept, cache=other, resume=True)


def test_opening_draws_nothing_from_the_random_streams(runs: Runs, cache: TeacherCache) -> None:
    graph = runs.graph()
    state = torch.get_rng_state()
    cache.fill(graph, BATCHES)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_resident_view_gives_the_same_without_waiting_for_the_device(runs: Runs, cache: TeacherCache) -> None:
    class NoSync(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            assert func is not torch.ops.aten._local_scalar_dense.default, "this waits for the device"
            return func(*args, **(kwargs or {}))

    graph = runs.graph()
    resident = replace(cache, resident=True)
    expected = epochs_of(cache.open(graph, BATCHES), BATCHES, 5)
    opened = resident.open(graph, BATCHES)
    found = epochs_of(opened, BATCHES, 5)
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[key], found[key]) for key in expected)
    batch = next(BATCHES.iterate(4))
    with NoSync():
        opened.given(batch.inputs, batch.index, epoch=4, progress=0.5)
    assert (found[4, batch.index[0].item()] == expected[4, batch.index[0].item()]).all()


def test_a_resident_view_is_loaded_once_it_is_complete(runs: Runs, tmp_path: Path) -> None:
    cache, graph = TeacherCache(tmp_path, resident=True), runs.graph()
    opened, batches = cache.open(graph, replace(BATCHES, views=1)), replace(BATCHES, views=1)
    first = epochs_of(opened, batches, 1)
    Path(tmp_path / "teacher" / "view-00000.rows").rename(tmp_path / "kept")  # complete, so only the next epoch looks
    runs.samples.clear()
    later = {key: row for key, row in epochs_of(opened, batches, 4).items() if key[0]}
    assert runs.samples == []
    assert all(torch.equal(row, first[0, i]) for (_, i), row in later.items())


# refusals


def test_room_is_announced_before_anything_is_written(
    runs: Runs, cache: TeacherCache, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "mentorch")
    opened = cache.open(runs.graph(), BATCHES)
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith(
        f"cache {cache.folder}: teacher [5] of 50 samples in 3 views; 4.8 kB to write, "
    )
    assert str(opened) in caplog.messages[0]
    assert list(Path(cache.folder).glob("**/*.rows")) == []
    cache.fill(runs.graph(), BATCHES)
    assert sum(path.stat().st_size for path in Path(cache.folder).glob("**/*.rows")) == 4800
    caplog.clear()
    assert "0 B to write" in str(cache.open(runs.graph(), BATCHES))
    assert caplog.messages == []


def test_a_disk_that_is_too_small_is_refused(runs: Runs, cache: TeacherCache, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=4799))
    with pytest.raises(RunError, match=r"4\.8 kB to write, 4\.8 kB free: there is no room; fewer views") as caught:
        runs.train(cache=cache)
    assert isinstance(caught.value.__cause__, OSError)
    assert not Path(cache.folder).exists()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=4800))
    runs.train(cache=cache)


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("weights", lambda runs, cache: (Runs(1), cache, BATCHES)),
        ("samples", lambda runs, cache: (runs, cache, replace(BATCHES, split=split(40)))),
        ("augmentation", lambda runs, cache: (runs, cache, replace(BATCHES, augment=Flip()))),
        ("dtype", lambda runs, cache: (runs, replace(cache, dtype=torch.float16), BATCHES)),
        ("top_k", lambda runs, cache: (runs, replace(cache, top_k=2), BATCHES)),
        ("addresses", lambda runs, cache: (runs, replace(cache, addresses=BOTH), BATCHES)),
    ],
)
def test_a_cache_of_something_else_is_refused(runs: Runs, cache: TeacherCache, key: str, change: Any) -> None:
    cache.open(runs.graph(), BATCHES)
    other, options, batches = change(runs, cache)
    with pytest.raises(UsageError, match=f"is for other {key}: .* there, .* here; choose another folder or delete it"):
        other.train(cache=options, batches=batches)


def test_what_cannot_be_kept_is_refused(runs: Runs, cache: TeacherCache, tmp_path: Path) -> None:
    graph = runs.graph()
    with pytest.raises(UsageError, match=r"use mentorch\.data\.Batches, not list"):
        cache.open(graph, list(BATCHES))
    with pytest.raises(UsageError, match=r"one view of each sample at a time: not with Batches\(strong=\)"):
        cache.open(graph, replace(BATCHES, strong=Flip()))
    with pytest.raises(UsageError, match="'student' is not in a frozen node"):
        replace(cache, addresses=("student",)).open(graph, BATCHES)
    with pytest.raises(UsageError, match="unknown node 'techer'"):
        replace(cache, addresses=("techer",)).open(graph, BATCHES)
    with pytest.raises(UsageError, match=r"addresses of a cache is a sequence: \('teacher',\)"):
        TeacherCache(tmp_path, addresses="teacher")
    with pytest.raises(UsageError, match=r"dtype of a cache is one of .*, got torch\.int8"):
        TeacherCache(tmp_path, dtype=torch.int8)
    with pytest.raises(UsageError, match="say how many to fill, views=epochs"):
        cache.fill(graph, replace(BATCHES, views=None))
    twice = Split(BATCHES.split.images, BATCHES.split.labels, torch.zeros(SAMPLES, dtype=torch.int64))
    with pytest.raises(UsageError, match="two samples have the same index"):
        replace(cache, folder=tmp_path / "twice").open(graph, replace(BATCHES, split=twice))
    opened, batch = cache.open(graph, BATCHES), next(iter(BATCHES))
    for index in (batch.index + 1, batch.index + 10_000):
        with pytest.raises(UsageError, match="samples that the cache was not opened for"):
            opened.given(batch.inputs, index, epoch=0)
