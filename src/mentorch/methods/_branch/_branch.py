"""Task branching in its stages."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from torch import nn

from mentorch._edge import Edge, Loss
from mentorch._errors import RunError, UsageError, unknown
from mentorch._files import write_json
from mentorch._freeze import freeze, is_frozen, thawed
from mentorch._graph import Graph, View
from mentorch.gates import Gate
from mentorch.methods._branch._held_out import held_out
from mentorch.methods._branch._paths import Paths
from mentorch.networks import Branched, EncoderDecoder
from mentorch.networks._branched import check_alike
from mentorch.training import History
from mentorch.training._checkpoint import steps

STUDENT = "student"
STAGES = ("search", "together")
Fit = Callable[..., History]
Losses = Mapping[str, Loss | tuple[Loss, float | Gate]]
Scores = dict[str, dict[int, float]]


@dataclass(frozen=True)
class BranchStage:
    """A finished stage.

    Attributes:
        name: ``depth-0``, ``depth-1``.. (or ``paths``), then ``together``.
        network: what was trained: a trunk with ways on through the teachers, or after ``together`` the student.
        graph: what it was trained in.
        history: what ``fit`` returned.
        scores: teacher -> depth -> loss on held-out data with its branch there, as far as known.
        depths: teacher -> where its branch leaves: chosen after the last stage of the search.
    """

    name: str
    network: Paths | Branched
    graph: Graph
    history: History
    scores: Scores
    depths: dict[str, int] = field(default_factory=dict)


def branch(
    teachers: Mapping[str, EncoderDecoder | Branched],
    student: EncoderDecoder,
    fit: Fit | Mapping[str, Fit],
    losses: Losses,
    *,
    validation: Iterable[Any],
    variant: Literal["paper", "random_path"] = "paper",
    train_trunk: Literal["all", "last"] = "all",
    views: Mapping[str, View] | None = None,
    seed: int = 0,
    run: str | Path | None = None,
    resume: bool = False,
) -> Iterator[BranchStage]:
    r"""Several dense teachers into one student that branches where it serves each of them best, without labels.

    The student's encoder and first b decoder blocks are the trunk; a task leaves it at depth b through an adaptor and
    goes on with the blocks of its teacher:

    .. math:: y_i = B_{i,D} \circ \dots \circ B_{i,b_i} (A_{i,b_i}(F_{b_i}))

    1. ``depth-0``, ``depth-1``, ..: all tasks leave at depth b, into the *frozen* blocks of their teachers; encoder,
       trunk and the adaptors of that depth learn :math:`\sum_i \ell_i(y_i, T_i(x))`. Each depth starts from the one
       before it.
    2. :math:`b_i` is the depth with the least loss of teacher i on held-out data. The trunk is then as it was at
       the deepest of them.
    3. ``together``: adaptors and copies of the teachers' blocks that are used, and nothing else, become the student's
       own, and everything learns.

    ``random_path`` replaces the first step by one stage, ``paths``, in which copies of all teachers' blocks learn too,
    and each step draws a depth for each task; it cannot be compiled, and several processes need a strategy that finds
    unused parameters.

    A stage is trained when the loop asks for it::

        train = partial(mentorch.fit, train=batches, optimizer=partial(Adam, lr=1e-3), epochs=10)
        for stage in methods.branch({"segmentation": a, "depth": b}, copy.deepcopy(a), train,
                                    {"segmentation": partial(pixel_kd, hard=True), "depth": depth_l1}, validation=held):
            print(stage.name, stage.scores)
        student = stage.network

    A student made so may teach again, beside teachers for further tasks (offline merging): its trunk and branches are
    then a branch themselves, under its name, and its losses are found by the names of its tasks.

    Args:
        teachers: name -> network, one or more, frozen in place: for one task of that name, or `networks.Branched`.
            Their decoders are alike, but for the heads.
        student: what the trunk starts as, of the same kind; published: a copy of a teacher. It is copied.
        fit: :func:`mentorch.fit` with everything bound but the graph, ``run`` and ``resume``; or one for each of
            ``search`` and ``together``.
        losses: task -> ``loss(student, teacher)``, or that and a gate.
        validation: batches that nobody learns from, on which branch points are chosen.
        variant: ``paper``, or ``random_path`` as in KamalEngine.
        train_trunk: what of the trunk learns at each depth: ``all``, as in the public code, or the ``last`` block.
        views: per teacher and ``student``, what it sees of the inputs.
        seed: of random paths.
        run: folder with a run folder for each stage, and ``branching.json``: losses by depth, and what was chosen.
        resume: given to ``fit``: finished stages are read, and the unfinished one goes on.

    Raises:
        UsageError: at once for no teacher, decoders that are not alike, a task without a loss or named twice, an
            option that does not exist, and ``resume`` without ``run``.
        RunError: if ``run`` holds a later stage but has lost an earlier one.

    References:
        Ye et al., "Student Becoming the Master: Knowledge Amalgamation for Joint Scene Parsing, Depth Estimation, and
        More", CVPR 2019, arXiv 1904.10167: SGD with 0.01, momentum 0.9, decay 1e-5, batches of 5, 80 epochs;
        segmentation by the teacher's most probable class, normals by the cosine.
    """
    for option, value, known in (
        ("variant", variant, ("paper", "random_path")),
        ("train_trunk", train_trunk, ("all", "last")),
    ):
        if value not in known:
            raise unknown(option, value, known)
    fits = fit if isinstance(fit, Mapping) else dict.fromkeys(STAGES, fit)
    if missing := [name for name in STAGES if name not in fits]:
        raise UsageError(f"fit says nothing about stage {missing[0]!r} (stages: {', '.join(STAGES)})")
    check(teachers, student, losses)
    for teacher in teachers.values():
        if not is_frozen(teacher):
            freeze(teacher)
    paths = Paths(thawed(student), teachers, own=variant == "random_path", seed=seed)
    job = _Job(teachers, losses, dict(views or {}), validation, fits, None if run is None else Path(run), resume)
    depths = max(paths.limits.values()) + 1
    names = ["paths"] if variant == "random_path" else [f"depth-{depth}" for depth in range(depths)]
    job.check_folder([*names, STAGES[1]])
    return job.stages(paths, depths, variant, train_trunk)


@dataclass(frozen=True)
class _Job:
    teachers: Mapping[str, EncoderDecoder | Branched]
    losses: Losses
    views: dict[str, View]
    validation: Iterable[Any]
    fits: Mapping[str, Fit]
    run: Path | None
    resume: bool

    def stages(self, paths: Paths, depths: int, variant: str, train_trunk: str) -> Iterator[BranchStage]:
        scores: Scores = {name: {} for name in self.teachers}
        if variant == "random_path":
            paths.random = True
            yield from self.searched(paths, "paths", range(depths), scores)
            trunk = paths.trunk_state()
        else:
            trunks = []
            for depth in range(depths):
                paths.choose(dict.fromkeys(paths.limits, depth)).only(depth, trunk=train_trunk)
                at = [name for name, limit in paths.limits.items() if depth <= limit]
                yield from self.searched(paths, f"depth-{depth}", [depth], scores, at)
                trunks.append(paths.trunk_state())
        best = {name: min(found, key=lambda depth: found[depth]) for name, found in scores.items()}
        if variant == "paper":
            trunk = trunks[max(best.values())]
        paths.load_state_dict(trunk, strict=False)
        network = paths.choose(best).export()
        graph = self.graph(network, self.teachers)
        yield BranchStage("together", network, graph, self.trained("together", graph), scores, best)

    def searched(
        self, paths: Paths, name: str, depths: Iterable[int], scores: Scores, at: Iterable[str] = ()
    ) -> Iterator[BranchStage]:
        graph = self.graph(paths, at or self.teachers)
        history = self.trained(name, graph)
        for teacher, found in held_out(graph, self.validation, list(depths)).items():
            scores[teacher] |= found
        self.write(scores)
        yield BranchStage(name, paths, graph, history, {teacher: dict(found) for teacher, found in scores.items()})

    def graph(self, network: nn.Module, at: Iterable[str]) -> Graph:
        """Every task's edge, from the teachers that take part."""
        nodes: dict[str, nn.Module] = {name: self.teachers[name] for name in at}
        edges = []
        for name, teacher in nodes.items():
            for task in tasks_of(teacher, name):
                given = self.losses[task]
                loss, gate = given if isinstance(given, tuple) else (given, 1.0)
                source = name if isinstance(teacher, EncoderDecoder) else f"{name}:{task}"
                edges.append(Edge(source, f"{STUDENT}:{task}", loss, gate))
        nodes[STUDENT] = network
        return Graph(nodes, edges, views={name: view for name, view in self.views.items() if name in nodes})

    def trained(self, name: str, graph: Graph) -> History:
        place: dict[str, Any] = {} if self.run is None else {"run": self.run / name, "resume": self.resume}
        return self.fits["together" if name == "together" else "search"](graph, **place)

    def write(self, scores: Scores) -> None:
        if self.run is not None:
            chosen = {name: min(found, key=lambda depth: found[depth]) for name, found in scores.items() if found}
            write_json(self.run / "branching.json", {"held_out": scores, "best": chosen})

    def check_folder(self, names: list[str]) -> None:
        if not self.resume:
            return
        if self.run is None:
            raise UsageError("resume needs a run folder: pass run=")
        begun = [bool(steps(self.run / name / "checkpoints")) for name in names]
        if False in begun and any(begun[begun.index(False) :]):
            raise RunError(
                f"{self.run / names[begun.index(False)]} has no checkpoint, but a later stage has: start anew"
            )


def tasks_of(teacher: nn.Module, name: str) -> tuple[str, ...]:
    """The tasks of a teacher under its name."""
    return teacher.tasks if isinstance(teacher, Branched) else (name,)


def check(teachers: Mapping[str, nn.Module], student: nn.Module, losses: Losses) -> None:
    """Refuse what cannot be branched.

    Raises:
        UsageError: in one line.
    """
    if not teachers:
        raise UsageError("branching needs at least one teacher")
    if not isinstance(student, EncoderDecoder):
        raise UsageError(f"the trunk is an EncoderDecoder such as segnet, not a {type(student).__name__}")
    if STUDENT in teachers:
        raise UsageError(f"a teacher cannot be called {STUDENT!r}")
    tasks: list[str] = []
    for name, teacher in teachers.items():
        check_alike(student, teacher, name)
        tasks += tasks_of(teacher, name)
    for task in tasks:
        if tasks.count(task) > 1:
            raise UsageError(f"two teachers do task {task!r}")
        if task not in losses:
            raise UsageError(f"task {task!r} has no loss: name one in losses")
    if unused := [task for task in losses if task not in tasks]:
        raise unknown("task with a loss", unused[0], tasks)
