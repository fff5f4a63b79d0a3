"""The map of a zoo: every network in one frame, and who is near whom."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from mentorch import zoo
from mentorch._errors import RunError, UsageError
from mentorch.transferability._atlas._fill import Tell, fill
from mentorch.transferability._atlas._groups import Tree, communities, tree
from mentorch.transferability._atlas._layout import layout
from mentorch.transferability._atlas._neighbours import SHARES, Neighbours, neighbours, share
from mentorch.transferability._atlas._task import Task
from mentorch.transferability._embedding import Embeddings, Frame
from mentorch.transferability._engines import Engine, here
from mentorch.transferability._lens import MODEL_SELECTION, Lens
from mentorch.transferability._store import Store

_MISSING = "it has not been embedded yet"


@dataclass(frozen=True, eq=False)
class Atlas:
    """All networks of a zoo in one frame; k and the weight of the edges are chosen when it is read.

    Attributes:
        frame: what the embeddings have in common.
        entries: the networks on the map, M of them, by name.
        failures: those that are not, each with its reason.
        table: the embeddings of the store, mapped.
        rows: position of each network in the table, shape ``[M]``.
        near: for each network the others that matter at any weight.
    """

    frame: Frame
    entries: tuple[zoo.Entry, ...]
    failures: tuple[zoo.Entry, ...]
    table: Embeddings
    rows: Tensor
    near: Neighbours

    def __len__(self) -> int:
        return len(self.entries)

    def nearest(self, name: str, *, k: int = 5, weight: float = 1.0) -> dict[str, float]:
        """The k networks most similar to one, best first, with nodes plus ``weight`` times edges.

        Raises:
            UsageError: if no network on the map has that name, or k is not between 1 and the neighbours that were kept.
        """
        names = [entry.name for entry in self.entries]
        if name not in names:
            raise UsageError(f"no network on the map is called {name!r}")
        found, i = self.near.nearest(k, weight=weight), names.index(name)
        values = found.nodes[i] + weight * found.edges[i]
        return {names[j]: value for j, value in zip(found.index[i].tolist(), values.tolist(), strict=True)}

    def communities(self, *, k: int = 5, weight: float = 1.0) -> list[int]:
        """A number for each network, the largest community first."""
        return communities(self.near.nearest(k, weight=weight), weight=weight)

    def tree(self, *, weight: float = 1.0) -> Tree:
        """Who joins whom, nearest first."""
        return tree(self.table, self.rows, weight=weight)

    @cached_property
    def layout(self) -> Mapping[float, Tensor]:
        """Positions ``[M, 2]`` at several shares of the edges."""
        return layout(self.table, self.rows, self.near)

    @cached_property
    def blank(self) -> list[int]:
        """For how many probes each network's attributions are zero; these count as similarity 0."""
        maps = (self.table.nodes[row].view(self.frame.count, -1) for row in self.rows.tolist())
        return [int((~nodes.any(1)).sum()) for nodes in maps]


def atlas(
    networks: Path | str | Iterable[zoo.Entry],
    probes: Tensor,
    *,
    store: Path | str,
    lens: Lens = MODEL_SELECTION,
    at: str = "",
    grid: int = 56,
    width: int | None = 64,
    pairs: int | None = 16384,
    keep: int = 64,
    weights: Iterable[float] = (),
    trust: bool = False,
    engine: Engine = here,
    tell: Tell | None = None,
) -> Atlas:
    """Put every network of a zoo on one map.

    Each network is read once and shown the same probes, as its card says it wants to be fed; its embedding is stored
    under a name made of all that it depends on, so a network that was added costs one row, and one that was not
    changed costs nothing. A network that fails is left out with its reason and stops nobody. Memory: one network per
    worker, two blocks of embeddings, and 20 bytes for each of the M K neighbours that are kept.

    Args:
        networks: a folder, see :func:`mentorch.zoo.entries`, or entries.
        probes: RGB images in [0, 1], shape ``[P, 3, H, W]``.
        store: folder of the embeddings, see :class:`Store`.
        lens: what is attributed, and how.
        at: where features are read in every network; empty: where its taps have its embedding.
        grid: see :class:`Frame`.
        width: see :class:`Frame`.
        pairs: see :class:`Frame`.
        keep: neighbours of each network, for all weights together.
        weights: of the edges that will be asked for: there the first ``keep / 6`` neighbours are exact in any case.
        trust: see :func:`mentorch.zoo.load`.
        engine: who computes: :func:`here`, or ``partial(in_processes, workers=4)``, or ``partial(on_ray, workers=4)``.
        tell: called after each network that was worked on.

    Raises:
        UsageError: for other probes, or if the store holds another frame.
        RunError: if no network is left.
    """
    frame = Frame.of(probes, lens, grid=grid, width=width, pairs=pairs)
    task = Task(frame, probes, lens, at, trust)
    kept = Store(store, frame)
    return chart(kept, task, fill(kept, task, _entries(networks), engine=engine, tell=tell), keep=keep, weights=weights)


def _entries(networks: Path | str | Iterable[zoo.Entry]) -> Iterable[zoo.Entry]:
    return zoo.entries(networks) if isinstance(networks, (str, Path)) else networks


def chart(
    store: Store, task: Task, entries: Iterable[zoo.Entry], *, keep: int = 64, weights: Iterable[float] = ()
) -> Atlas:
    """The map of the networks that are in the store; those that failed stand beside it.

    Raises:
        RunError: if no network is left.
    """
    table = store.read()
    places = {key: row for row, key in enumerate(table.keys)}
    ordered = sorted(entries, key=lambda entry: (entry.name, str(entry.folder)))
    rows = [places.get(task.key(e.card)) if e.card is not None and not e.failure else None for e in ordered]
    there = tuple(entry for entry, row in zip(ordered, rows, strict=True) if row is not None)
    failures = tuple(
        entry if entry.failure else replace(entry, failure=_MISSING)
        for entry, row in zip(ordered, rows, strict=True)
        if row is None
    )
    if not there:
        why = f": {failures[0].name}: {failures[0].failure}" if failures else ""
        raise RunError(f"no network is left for the atlas, {len(failures)} failed{why}")
    index = torch.tensor([row for row in rows if row is not None])
    shares = sorted({*SHARES, *map(share, weights)})
    return Atlas(store.frame, there, failures, table, index, neighbours(table, index, keep=keep, shares=shares))
