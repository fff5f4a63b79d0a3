"""The teacher cache: what frozen nodes show, computed once per (sample, view) and kept on disk."""

import contextlib
import errno
import logging
import math
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mentorch._errors import RunError, UsageError
from mentorch._graph import Graph
from mentorch._tap import Address, parse
from mentorch.data import Batches
from mentorch.training._cache_card import check_seeded
from mentorch.training._cache_columns import DTYPES
from mentorch.training._cache_node import KeptNode


@dataclass(frozen=True)
class TeacherCache:
    """A folder that keeps what frozen nodes show, so that each is run once per sample and view.

    A view is one augmented version of a sample: ``Batches(..., views=K)`` shows version e modulo K in epoch e, and
    without augmentation there is one. Methods, seeds and runs share a folder as long as everything agrees that
    the outputs depend on (weights, samples, augmentation, what the node sees, precision); otherwise it is refused.
    Processes may share it at the same time, and be killed at any time.

    Args:
        folder: made if it is not there.
        addresses: what is kept, such as ``("teacher", "teacher.fc:in")``; the output of each frozen node, or the fields
            of it that edges read, if nothing is said. A node runs where an open edge reads something of it that is not
            kept.
        dtype: what values are rounded to. With float32 they are kept bit for bit.
        top_k: keep only the largest so many logits of outputs; the others share the probability that is left over in
            equal parts, so that at temperature 1 the kept probabilities are exact up to ``dtype``.
        resident: hold the view that is shown in memory, beside the samples, once it is complete: then nothing is read
            from the disk in a step and nothing waits for a device. If nothing is said, where samples are on one.

    Raises:
        UsageError: for a ``dtype`` that is not floating point.
    """

    folder: str | Path
    _: KW_ONLY
    addresses: Sequence[str] | None = None
    dtype: torch.dtype = torch.float32
    top_k: int | None = None
    resident: bool | None = None

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise UsageError(f"dtype of a cache is one of {', '.join(map(str, DTYPES))}, got {self.dtype}")
        if isinstance(self.addresses, str):
            raise UsageError(f"addresses of a cache is a sequence: ({self.addresses!r},)")

    def open(self, graph: Graph, batches: Iterable[Any], *, views: int | None = None) -> "OpenCache":
        """Check that the folder fits, and how much room it will take; nothing but its cards is written yet.

        Args:
            graph: its frozen nodes are the ones whose outputs are kept.
            batches: which samples, and which views of them.
            views: how many views will be asked for; those of ``batches`` if nothing is said.

        Raises:
            UsageError: if the folder is for other weights, samples, views or precision, or outputs cannot be kept
                because they depend on more than sample and view.
            RunError: if there is not enough room on the disk.
        """
        if not isinstance(batches, Batches):
            kind = type(batches).__name__
            raise UsageError(f"a cache must know the view of each sample: use mentorch.data.Batches, not {kind}")
        if batches.strong is not None:
            raise UsageError("a cache keeps one view of each sample at a time: not with Batches(strong=)")
        check_seeded(batches.augment, batches)
        kept: dict[str, KeptNode] = {}
        read = graph.reads()
        for name, addresses in self._addresses(graph).items():
            if set(read.get(name, ())) & {str(address) for address in addresses}:
                kept[name] = KeptNode(Path(self.folder), graph, name, addresses, batches, self.dtype, self.top_k)
        if batches.augment is None:
            views = 1
        elif batches.views is not None:
            views = min(batches.views, views or batches.views)
        opened = OpenCache(self, graph, batches, kept, views)
        opened.announce()
        for node in kept.values():
            node.settle()
        return opened

    def fill(self, graph: Graph, batches: Batches, *, views: int | None = None, progress: bool = True) -> None:
        """Run the frozen nodes for everything that is missing, ahead of training.

        Samples are grouped as in the first epochs of training on ``batches``: where the last bits of an output depend
        on the other samples of its batch, the kept values are those of live training in these epochs.

        Args:
            graph: see :meth:`open`. It runs where it is; autocast, if the training will use it, must be active.
            batches: what will be trained on.
            views: how many views to fill; those of ``batches`` if nothing is said.
            progress: show a progress bar if this is a terminal.

        Raises:
            UsageError: also if the number of views is neither stated nor limited.
            RunError: also if the disk becomes full; what is there counts.
        """
        opened = self.open(graph, batches, views=views)
        if opened.views is None:
            raise UsageError(
                "each epoch shows new views: say how many to fill, views=epochs, or limit Batches(views=...)"
            )
        whole = replace(batches, drop_last=False)
        device = next((p.device for p in graph.parameters()), torch.device("cpu"))
        with _bar(str(opened), opened.views * len(whole), progress) as advance:
            for view in range(opened.views):
                if opened.complete(view):
                    advance(len(whole))
                    continue
                for batch in whole.iterate(view):
                    opened.ensure(batch.inputs.to(device, non_blocking=True), batch.index, epoch=view)
                    advance(1)

    def _addresses(self, graph: Graph) -> dict[str, list[Address]]:
        """What to keep of each frozen node."""
        found: dict[str, list[Address]] = {}
        if not graph.frozen:
            return found  # nobody teaches: the same options may serve a baseline
        for text in sorted(set(_outputs(graph) if self.addresses is None else self.addresses)):
            address = parse(text, dict(graph.nodes.items()))
            if address.root not in graph.frozen:
                raise UsageError(f"cache: {text!r} is not in a frozen node, its values change while it learns")
            found.setdefault(address.root, []).append(address)
        return found


class OpenCache:
    """A cache that was found to fit a graph and its batches; made by :meth:`TeacherCache.open`, for loops of your own.

    >>> import tempfile
    >>> from torch import nn
    >>> from mentorch import Edge, freeze
    >>> from mentorch.data import Split
    >>> nodes = {name: nn.Sequential(nn.Flatten(), nn.Linear(4, 3)) for name in ("teacher", "student")}
    >>> freeze(nodes["teacher"]).register_forward_hook(lambda *_: print("the teacher runs"))  # doctest: +ELLIPSIS
    <torch...>
    >>> graph = Graph(nodes, [Edge("teacher", "student", nn.functional.mse_loss)])
    >>> split = Split(torch.zeros(6, 1, 2, 2, dtype=torch.uint8), torch.zeros(6).long(), torch.arange(6))
    >>> batches = Batches(split, 6)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     TeacherCache(folder).fill(graph, batches, progress=False)
    ...     cache = TeacherCache(folder).open(graph, batches)
    ...     for epoch in range(100):
    ...         for batch in batches.iterate(epoch):
    ...             losses = graph(*batch, given=cache.given(batch.inputs, batch.index, epoch=epoch))
    the teacher runs
    the teacher runs
    """

    def __init__(
        self, cache: TeacherCache, graph: Graph, batches: Batches, nodes: Mapping[str, KeptNode], views: int | None
    ):
        self.cache, self.graph, self.batches, self.nodes, self.views = cache, graph, batches, nodes, views
        self._index = batches.split.index.sort().values  # a sample's row is its rank
        if (self._index[1:] == self._index[:-1]).any():
            raise UsageError("two samples have the same index: a cache cannot tell them apart")
        on_device = self._index.device.type != "cpu"
        self._hold = on_device if cache.resident is None else cache.resident
        self._held: dict[str, tuple[int, int, Tensor | None]] = {}

    def __str__(self) -> str:
        samples, views = f"{len(self._index):,} samples", f"{self.views or 'any number of'} views"
        columns = [column for node in self.nodes.values() for column in node.columns.values()]
        names = ", ".join(f"{column.address} {list(column.shape)}" for column in columns) or "nothing"
        need, free = self._room()
        return f"cache {self.cache.folder}: {names} of {samples} in {views}; {_size(need)} to write, {_size(free)} free"

    @property
    def rounding(self) -> str | None:
        """What the cache does to numbers; None where it keeps nothing."""
        return f"{self.cache.dtype}, top_k={self.cache.top_k}" if self.nodes else None

    def given(self, inputs: Tensor, index: Tensor, *, epoch: int, progress: float | None = None) -> dict[str, Tensor]:
        """What a graph is given in place of running its frozen nodes; kept first where it is not yet.

        Args:
            inputs: the batch, on the device of the graph.
            index: its samples, int64, shape `[N]`; best where the split is, so that nothing waits for the device.
            epoch: counted from 0, decides the view.
            progress: the addresses that edges read then; of all edges if nothing is said.

        Returns:
            Address -> tensor; nothing of a node that must run anyway because something else is read from it.
        """
        read = self.graph.reads(progress)
        wanted = {name: read[name] for name, node in self.nodes.items() if name in read and node.has(read[name])}
        if not wanted:
            return {}
        rows = self._rows(index)
        found: dict[str, Tensor] = {}
        for name, addresses in wanted.items():
            table = self._resident(name, epoch) if self._hold else None
            if table is None:
                data = self.nodes[name].data(rows.cpu(), self.batches.view(epoch), inputs)
                if inputs.is_cuda:
                    data = data.pin_memory()
                data = data.to(inputs.device, non_blocking=True)
            else:
                data = table.index_select(0, rows).to(inputs.device)
            found |= self.nodes[name].decode(data, addresses)
        return found

    def ran(self) -> dict[str, int]:
        """Node -> samples that it ran on to be kept, since this was asked last."""
        found = {name: node.ran for name, node in self.nodes.items() if node.ran}
        for name in found:
            self.nodes[name].ran = 0
        return found

    def ensure(self, inputs: Tensor, index: Tensor, *, epoch: int) -> None:
        """Keep what the nodes show for these samples, where it is not yet."""
        rows = self._rows(index).cpu()
        for node in self.nodes.values():
            node.data(rows, self.batches.view(epoch), inputs)

    def complete(self, view: int) -> bool:
        """Whether every sample of a view is there."""
        return all(node.rows(view).complete() for node in self.nodes.values())

    def announce(self) -> None:
        """Log how much will be written, or refuse to begin what the disk cannot hold."""
        need, free = self._room()
        if need > free:
            raise RunError(
                f"{self}: there is no room; fewer views, dtype=torch.float16 or top_k= need less"
            ) from OSError(errno.ENOSPC, "no room")
        if need:
            logging.getLogger(__name__).info("%s", self)

    def _room(self) -> tuple[int, int]:
        place = Path(self.cache.folder).absolute()
        place = next(p for p in (place, *place.parents) if p.exists())
        need = sum(node.missing_bytes(range(self.views or 1)) for node in self.nodes.values())
        return need, shutil.disk_usage(place).free

    def _rows(self, index: Tensor) -> Tensor:
        rows = torch.searchsorted(self._index, index.to(self._index.device))
        known = self._index[rows.clamp(max=len(self._index) - 1)]
        if rows.device.type == "cpu" and not torch.equal(known, index.cpu()):  # elsewhere, asking would wait
            raise UsageError("a batch holds samples that the cache was not opened for")
        return rows

    def _resident(self, name: str, epoch: int) -> Tensor | None:
        """A node's whole view beside the samples; None in an epoch that began before it was complete."""
        view = self.batches.view(epoch)
        number, tried, table = self._held.get(name, (-1, -1, None))
        if number != view or (table is None and tried != epoch):
            self._held.pop(name, None)
            loaded = self.nodes[name].rows(view).load()
            table = None if loaded is None else loaded.to(self._index.device)
            self._held[name] = view, epoch, table
        return table


def _outputs(graph: Graph) -> list[str]:
    """What edges read of the outputs of frozen nodes."""
    nodes, read = dict(graph.nodes.items()), graph.reads()
    return [text for name in graph.frozen for text in read.get(name, ()) if not parse(text, nodes).tapped]


@contextlib.contextmanager
def _bar(title: str, total: int, wanted: bool) -> Iterator[Callable[[int], None]]:
    if not wanted or not sys.stderr.isatty():
        yield lambda steps: None
        return
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True, highlight=False)
    console.print(title, markup=False)
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("teacher cache", total=total)
        yield lambda steps: progress.advance(task, steps)


def _size(count: int) -> str:
    """Bytes as people read them.

    >>> _size(148_900_000)
    '148.9 MB'
    """
    power = min(4, int(math.log10(max(1, count)) // 3))
    return f"{count / 1000**power:.{1 if power else 0}f} {('B', 'kB', 'MB', 'GB', 'TB')[power]}"
