"""What is kept of one frozen node."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from mentorch._errors import UsageError
from mentorch._graph import Graph
from mentorch._tap import Address, Tap, select
from mentorch.data import Batches
from mentorch.training._cache_card import agree, fingerprint, settle
from mentorch.training._cache_columns import Column
from mentorch.training._cache_rows import CHECK, Rows


class KeptNode:
    """A frozen node whose outputs are kept: a card that says of what, and a file of rows per view.

    Args:
        folder: of the cache.
        graph: has the node, and says what it sees of the inputs.
        name: of the node; its files are in a folder of that name.
        addresses: what is kept of it, in a fixed order.
        batches: which samples.
        dtype, top_k: see :class:`Column`; the latter applies to the node's output alone.

    Raises:
        UsageError: if the folder is for something else, or what is read is not one value per sample.
    """

    def __init__(
        self,
        folder: Path,
        graph: Graph,
        name: str,
        addresses: Sequence[Address],
        batches: Batches,
        dtype: torch.dtype,
        top_k: int | None,
    ):
        self.network, self.see, self.addresses = graph.nodes[name], graph.views.get(name), addresses
        self.place, self.count = folder / name, len(batches.split)
        self._rows: tuple[int, Rows | None] = -1, None
        self.ran = 0  # samples that the network ran on to be kept
        self.facts = {
            **fingerprint(graph, name, batches),
            "addresses": [str(address) for address in addresses],
            "dtype": str(dtype),
            "top_k": top_k,
        }
        card = agree(self.place / "card.json", self.facts)
        if card is None:
            device = next((p.device for p in self.network.parameters()), torch.device("cpu"))
            shown = self._run(next(iter(batches)).inputs[:1].to(device))
            card = {"shapes": {text: list(tensor.shape[1:]) for text, tensor in shown.items()}}
        self.facts["shapes"] = card["shapes"]
        self.columns = {
            str(a): Column(str(a), tuple(card["shapes"][str(a)]), dtype, None if a.tapped else top_k) for a in addresses
        }
        self.size = sum(column.size for column in self.columns.values())

    def settle(self) -> None:
        """Make the folder this node's."""
        settle(self.place / "card.json", self.facts)

    def has(self, addresses: Sequence[str]) -> bool:
        """Whether all these addresses are kept."""
        return all(text in self.columns for text in addresses)

    def rows(self, view: int) -> Rows:
        """The rows of a view; one view is open at a time."""
        number, rows = self._rows
        if rows is None or number != view:
            rows = Rows(self._path(view), self.count, self.size)
            self._rows = view, rows
        return rows

    def missing_bytes(self, views: range) -> int:
        """Room that is still to be taken."""
        whole = self.count * (self.size + CHECK)
        paths = [self._path(view) for view in views]
        return sum(whole - min(whole, path.stat().st_size if path.exists() else 0) for path in paths)

    def data(self, rows: Tensor, view: int, inputs: Tensor) -> Tensor:
        """The bytes of these rows; the network runs if one is missing, and the missing ones are written."""
        table = self.rows(view)
        data, whole = table.read(rows)
        if whole.all():
            return data
        shown = self._run(inputs)
        self.ran += len(inputs)
        fresh = torch.cat([column.encode(shown[text].cpu()) for text, column in self.columns.items()], dim=1)
        table.write(rows[~whole], fresh[~whole])
        # what is there counts: a run that reads it later, or goes on after a kill, sees the same numbers
        return torch.where(whole[:, None], data, fresh)

    def decode(self, data: Tensor, addresses: Sequence[str]) -> dict[str, Tensor]:
        """Values at some addresses from the bytes of rows."""
        found, start = {}, 0
        for text, column in self.columns.items():
            if text in addresses:
                found[text] = column.decode(data[:, start : start + column.size])
            start += column.size
        return found

    @torch.no_grad()
    def _run(self, inputs: Tensor) -> dict[str, Tensor]:
        taps = {address: Tap(address) for address in self.addresses if address.tapped}
        handles = [tap.install(self.network) for tap in taps.values()]
        try:
            for tap in taps.values():
                tap.open()
            output = self.network(inputs if self.see is None else self.see(inputs))
            shown = {str(a): taps[a].take() if a in taps else select(output, a.pick, a) for a in self.addresses}
        finally:
            for handle in handles:
                handle.remove()
        for text, tensor in shown.items():
            if not tensor.is_floating_point() or tensor.shape[:1] != inputs.shape[:1]:
                kind = f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
                raise UsageError(f"cache: {text!r} is {kind} for {len(inputs)} samples, not one value for each")
        return shown

    def _path(self, view: int) -> Path:
        return self.place / f"view-{view:05d}.rows"
