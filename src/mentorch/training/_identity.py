"""What must agree between a checkpoint and the run that goes on from it: all that its numbers depend on."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from mentorch._edge import Edge, loss_name, without_addresses
from mentorch._errors import RunError, UsageError
from mentorch._freeze import precision_of
from mentorch._graph import Graph
from mentorch.data import Batches
from mentorch.networks import hash_tensors, state_hash
from mentorch.training._describe import described
from mentorch.training._training import Training


def identity(
    training: Training, train: Any, validation: Any, *, world: int, recorded: bool, **options: Any
) -> dict[str, Any]:
    """A run as plain data that is the same in every process.

    Args:
        training: with its graph, optimisers and schedules, before the first step.
        train: described by :func:`describe_data`.
        validation: the same; it decides which epoch is best.
        world: processes; their batches count together, so that a run may go on with another number of them.
        recorded: whether it will be compared; data need not be read otherwise.
        options: of ``fit``, that the numbers depend on.
    """
    graph, steering = training.graph, training.steering
    return {
        "epochs": training.epochs,
        "steps_per_epoch": training.steps_per_epoch,
        "accumulate": training.accumulate,
        "edges": [_edge(edge) for edge in graph.edges],
        "parameters": {name: _size(graph.nodes[name]) for name in graph.learning},
        "frozen": hashes_of_frozen(graph, all_of_it=recorded),
        "precision of frozen": {n: str(p) for n in graph.frozen if (p := precision_of(graph.nodes[n])) is not None},
        "views": {name: described(view) + _state(view) for name, view in graph.views.items()},
        "optimizers": {name: _optimizer(each, steering.base[name]) for name, each in steering.optimizers.items()},
        "schedules": {name: [_schedule(each) for each in all_] for name, all_ in steering.schedules.items()},
        "train": describe_data(train, world) if recorded else {},
        "validation": describe_data(validation, 1) if recorded else {},
        **{
            name: value if isinstance(value, int | float | str | None) else described(value)
            for name, value in options.items()
        },
    }


def hashes_of_frozen(graph: Graph, *, all_of_it: bool) -> dict[str, str]:
    """Node -> hash of its state; of the tensors in it unless all of it is asked for.

    Raises:
        UsageError: naming the node, if all is asked for and something in it is not a tensor.
    """
    found = {}
    for name in graph.frozen:
        state = graph.nodes[name].state_dict()
        if not all_of_it:
            state = {key: value for key, value in state.items() if isinstance(value, Tensor)}
        try:
            found[name] = hash_tensors(state)
        except UsageError as error:
            raise UsageError(f"frozen node {name!r}: {error}; fit without run=, which tells runs apart") from error
    return found


def describe_data(data: Any, world: int = 1) -> dict[str, Any]:
    """Which samples, in which batches and which order, as far as the data says so.

    Of :class:`mentorch.data.Batches` everything. Of a torch loader the length of its data and how it is divided: what
    its samples are is the caller's business, as reading them all would take as long as an epoch.
    """
    if data is None:
        return {}
    if isinstance(data, Batches):
        split = data.split
        targets = getattr(split, "targets", None) or {"labels": getattr(split, "labels", split.index)}
        return {
            "samples": hash_tensors({**targets, "images": split.images, "index": split.index}),
            "batch_size": data.batch_size * world,
            "order": {"shuffle": data.shuffle, "seed": data.seed, "drop_last": data.drop_last},
            "augment": described(data.augment),
            **({} if data.strong is None else {"strong": described(data.strong)}),
            "views": {"number": data.views, "seed": data.view_seed},
        }
    size: Any = getattr(data, "batch_size", None)
    dataset: Any = getattr(data, "dataset", None)
    return {
        "samples": len(dataset) if hasattr(dataset, "__len__") else None,
        "batch_size": size * world if isinstance(size, int) else None,
        "order": [type(getattr(data, "sampler", None)).__name__, getattr(data, "drop_last", None)],
    }


def check_same(there: Mapping[str, Any], here: Mapping[str, Any], where: str) -> None:
    """Refuse to go on with another run.

    Raises:
        RunError: naming the first thing that differs.
    """
    before, now = dict(_leaves(there)), dict(_leaves(here))
    for name in {**now, **before}:
        old, new = (found.get(name, "nothing") for found in (before, now))
        if old != new:
            there_, here_ = _short(old, new), _short(new, old)
            raise RunError(f"{where} holds another run: {name} is {there_} there and {here_} here")


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}".lstrip("."))
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value, start=1):
            yield from _leaves(item, f"{path} {number}")
    else:
        yield path, value


def _edge(edge: Edge) -> str:
    """An edge with its options; what its modules have learned is not among them."""
    options = described(edge.loss)
    adapter = "" if edge.adapter is None else f", adapter {described(edge.adapter)}"
    return without_addresses(str(edge)) + ("" if options == loss_name(edge.loss) else f", {options}") + adapter


def _optimizer(optimizer: Optimizer, rates: Sequence[Any]) -> dict[str, Any]:
    """Its kind, and the numbers of its groups; the rate is that before any schedule, and what is off is not told."""
    groups = []
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        told = {**group, "lr": rate}
        groups.append(
            {name: described(value) for name, value in told.items() if value and name not in ("initial_lr", "params")}
        )
    return {"kind": type(optimizer).__name__, "groups": groups}


def _schedule(schedule: Any) -> str:
    """A gate as it prints; torch's schedulers keep their numbers in their state."""
    if not isinstance(schedule, LRScheduler):
        return described(schedule)
    return f"{type(schedule).__name__} {without_addresses(repr(schedule.state_dict()))}"


def _state(view: Any) -> str:
    view = getattr(view, "__self__", view)
    return f" {state_hash(view)[:16]}" if isinstance(view, nn.Module) else ""


def _short(value: Any, other: Any) -> str:
    """How a value prints; of what is long, the part where it differs from another one."""
    text = repr(value)
    if len(text) <= 60:
        return text
    differs = next((at for at, (one, two) in enumerate(zip(text, repr(other), strict=False)) if one != two), 0)
    if differs < 40:
        return f"{text[:40]}...{text[-12:]}"
    return f"{text[:12]}...{text[differs - 20 : differs + 22]}..."


def _size(node: nn.Module) -> int:
    return sum(p.numel() for p in node.parameters())
