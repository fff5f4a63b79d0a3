"""The knowledge transfer graph: networks as nodes, losses under gates as edges."""

import contextlib
import weakref
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from mentorch import _reading
from mentorch._check import check_edges, check_known, check_names
from mentorch._edge import Edge, named_terms, owned
from mentorch._errors import RunError, UsageError, unknown
from mentorch._freeze import is_frozen, statistics_kept
from mentorch._math import computed_once, written
from mentorch._print import printed
from mentorch._tap import BATCH, Tap, parse, select
from mentorch._trial import try_edge
from mentorch.gates import as_gate

View = Callable[[Any], Any]
"""What a node sees of the inputs."""
Plan = tuple[tuple[str, bool, tuple[str, ...]], ...]
"""Which roots to read: name, whether gradients are needed, addresses."""


class Graph(nn.Module):
    """Networks and the knowledge that flows between them; calling it returns the weighted loss of every open edge.

    >>> from mentorch import freeze
    >>> teacher, student = freeze(nn.Linear(4, 3)), nn.Linear(4, 3)
    >>> graph = Graph(
    ...     {"teacher": teacher, "student": student},
    ...     [
    ...         Edge("labels", "student", nn.functional.cross_entropy, gate=0.1),
    ...         Edge("teacher", "student", nn.functional.mse_loss, gate=0.9),
    ...     ],
    ... )
    >>> losses = graph(torch.randn(2, 4), labels=torch.tensor([0, 2]))
    >>> list(losses)
    ['labels -> student: cross_entropy', 'teacher -> student: mse_loss']
    >>> sum(losses.values()).backward()

    Args:
        nodes: networks under their names. A node is learning (some edge points to it) or frozen (see :func:`freeze`).
        edges: what flows; addresses are checked here.
        views: per node, what it sees of the inputs (a normalisation, say); the inputs as they are otherwise.
        devices: per node, where it lives with what its edges own; ``to()`` moves the others. Its inputs are brought
            there, and what it shows is brought to whom it teaches.
        example: ``(inputs, labels)`` of one small batch: adapters are built from it and every edge is tried once.

    Raises:
        UsageError: for unknown nodes or modules, a frozen target, a node that nobody teaches nor froze, two edges
            of one name, or a network that was compiled before it was tapped.
    """

    def __init__(
        self,
        nodes: Mapping[str, nn.Module],
        edges: Sequence[Edge],
        *,
        views: Mapping[str, View] | None = None,
        devices: Mapping[str, torch.device | str] | None = None,
        example: Sequence[Any] | None = None,
    ):
        super().__init__()
        check_names(nodes)
        self.nodes = nn.ModuleDict(nodes)
        self.edges = tuple(edges)
        self._gates = tuple(as_gate(edge.gate) for edge in self.edges)
        self.views = dict(views or {})
        self._view_modules = nn.ModuleDict({k: v for k, v in self.views.items() if isinstance(v, nn.Module)})
        self.owned = nn.ModuleDict()  # what edges own: losses and adapters with weights, by position of the edge
        for i, edge in enumerate(self.edges):
            if parts := owned(edge):
                self.owned[str(i)] = nn.ModuleDict(parts)
        self.devices = {name: torch.device(device) for name, device in (devices or {}).items()}
        self._addresses = {text: parse(text, nodes) for e in self.edges for text in (*e.sources, *e.targets)}
        check_edges(nodes, self.edges, self._addresses)
        check_known(nodes, views=self.views, devices=self.devices)
        self._taps = {t: Tap(a) for t, a in self._addresses.items() if a.tapped}
        self._handles = [tap.install(nodes[tap.address.root]) for tap in self._taps.values()]
        weakref.finalize(self, _remove, self._handles)
        self._compiled: Callable[..., dict[str, Tensor]] | None = None
        self._compile_options: dict[str, Any] = {}
        self._weights: tuple[tuple[float, ...], Tensor] | None = None
        self._plans: dict[tuple[tuple[int, ...], tuple[str, ...]], Plan] = {}
        self.train()
        self._place()
        self.built = not any(hasattr(part, "build") for edge in self.edges for part in owned(edge).values())
        if example is not None:
            self.build(*example)

    def __setstate__(self, state: dict[str, Any]) -> None:
        # a copy: its hooks go when it goes, and what was compiled was the original
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        weakref.finalize(self, _remove, self._handles)
        if self._compiled is not None:
            self.compile(**self._compile_options)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._place()
        return self

    def _place(self) -> None:
        for name, device in self.devices.items():
            self.nodes[name].to(device)
            if name in self._view_modules:
                self._view_modules[name].to(device)
        for i, edge in enumerate(self.edges):
            if str(i) in self.owned and self.target_of(edge) in self.devices:
                self.owned[str(i)].to(self.devices[self.target_of(edge)])

    def train(self, mode: bool = True) -> Self:
        if mode != self.training:
            for tap in self._taps.values():
                tap.relearn()
        return super().train(mode)

    @property
    def frozen(self) -> tuple[str, ...]:
        """Names of the nodes that only teach."""
        return tuple(name for name, node in self.nodes.items() if is_frozen(node))

    @property
    def learning(self) -> tuple[str, ...]:
        """Names of the nodes that learn."""
        return tuple(name for name, node in self.nodes.items() if not is_frozen(node))

    def parameters_of(self, name: str) -> Iterator[nn.Parameter]:
        """What a node's optimiser trains: the node's own parameters and those of the edges that point to it."""
        self._know(name)
        seen: set[int] = set()
        parts = [
            self.owned[str(i)] for i, e in enumerate(self.edges) if str(i) in self.owned and self.target_of(e) == name
        ]
        for module in (self.nodes[name], *parts):
            for parameter in module.parameters():
                if parameter.requires_grad and id(parameter) not in seen:
                    seen.add(id(parameter))
                    yield parameter

    def predict(self, name: str, inputs: Any) -> Any:
        """The output of one node on its own view of the inputs."""
        self._know(name)
        return self.nodes[name](self._see(name, inputs))

    def _know(self, name: str) -> None:
        if name not in self.nodes:
            raise unknown("node", name, self.nodes)

    def reads(self, progress: float | None = None) -> dict[str, tuple[str, ...]]:
        """What the edges read that are open at ``progress``, or all edges: node or part of the batch -> addresses."""
        live = tuple(i for i in range(len(self.edges)) if progress is None or self._gates[i](progress) != 0.0)
        return {root: addresses for root, _, addresses in self._plan(live)}

    def runs(
        self, progress: float, given: Collection[str] = (), only: Collection[str] | None = None
    ) -> dict[str, bool]:
        """The nodes that a call with these arguments runs, and whether each learns from it."""
        open_ = (i for i, gate in enumerate(self._gates) if gate(progress) != 0.0)
        live = tuple(i for i in open_ if only is None or self.target_of(self.edges[i]) in only)
        return {root: learns for root, learns, _ in self._plan(live, tuple(sorted(given))) if root not in BATCH}

    def forward(
        self,
        inputs: Any,
        labels: Any = None,
        index: Tensor | None = None,
        progress: float = 0.0,
        given: Mapping[str, Tensor] | None = None,
        only: Collection[str] | None = None,
    ) -> dict[str, Tensor]:
        """The weighted loss of every open edge; their sum is what a step minimises.

        Args:
            inputs: what the nodes read, each through its view.
            labels: a tensor or a mapping of tensors, for edges that name ``labels``.
            index: which samples these are, shape ``[N]``, for edges that name ``index``.
            progress: training progress in [0, 1], for the gates.
            given: address in a frozen node -> what would be read there for these inputs, known from earlier; a node
                of which nothing else is read does not run.
            only: the edges to these nodes and no others; the other nodes then teach without being trained, and their
                running statistics stay as they are.

        Returns:
            Name of the edge -> scalar; a loss that returns named terms gives one entry per term, ``edge/term``.
        """
        if not 0.0 <= progress <= 1.0:
            raise UsageError(f"progress is a fraction of training between 0 and 1, got {progress}")
        if not self.built:
            waiting = next(e.name for e in self.edges if any(hasattr(p, "build") for p in owned(e).values()))
            raise UsageError(f"edge {waiting!r} has no weights yet: pass example= or call build(inputs, labels) first")
        weights = [gate(progress) for gate in self._gates]
        live = tuple(i for i, weight in enumerate(weights) if weight != 0.0)
        given = self._accept(given)
        if only is not None:
            live = tuple(i for i in live if self.target_of(self.edges[i]) in only)
        plan = self._plan(live, tuple(given))
        with contextlib.ExitStack() as stack:
            if only is not None:
                stack.enter_context(statistics_kept(self.nodes[name] for name in self.learning if name not in only))
            if self._compiled is None:
                if not torch.compiler.is_compiling():  # from outside; what is common is then found anyway
                    stack.enter_context(computed_once())
                return self._losses(inputs, labels, index, given, live, plan, weights)
            # sets of open edges, modes and batch sizes share a limit that is meant for accidents
            stack.enter_context(torch._dynamo.config.patch(recompile_limit=1024, accumulated_recompile_limit=1024))
            return self._compiled(inputs, labels, index, given, live, plan, self._on_device(weights))

    def eager(self, *batch: Any) -> dict[str, Tensor]:
        """What a call gives, computed without the compiler: for looking into a step."""
        compiled, self._compiled = self._compiled, None
        try:
            return self.forward(*batch)
        finally:
            self._compiled = compiled

    def target_of(self, edge: Edge) -> str:
        """The node that an edge points to."""
        return self._addresses[edge.targets[0]].root

    def sources_of(self, edge: Edge) -> tuple[str, ...]:
        """The nodes that an edge comes from, each once; parts of the batch are none."""
        roots = dict.fromkeys(self._addresses[text].root for text in edge.sources)
        return tuple(root for root in roots if root in self.nodes)

    def compile(self, **options: Any) -> None:
        """Compile nodes and losses into one graph; gates may move freely, each set of open edges is compiled once.

        Args:
            options: passed to :func:`torch.compile`; ``fullgraph=True`` unless said otherwise.
        """
        self._compile_options = options
        self._compiled = torch.compile(self._losses, **{"fullgraph": True, **options})

    def build(
        self,
        inputs: Any,
        labels: Any = None,
        index: Tensor | None = None,
        given: Mapping[str, Tensor] | None = None,
    ) -> Self:
        """Run one batch through everything: create the adapters' weights from its shapes, and try every edge.

        Nothing is trained and no statistic changes. The arguments are those of a call.

        Raises:
            MentorchError: naming the edge that cannot work on this batch.
        """
        modes = {module: module.training for module in self.modules()}
        given = self._accept(given)
        plan = self._plan(tuple(range(len(self.edges))), tuple(given))
        try:
            for module in self.children():
                module.eval()
            with torch.no_grad():
                values = self._values(inputs, labels, index, given, plan)
                for edge in self.edges:
                    try_edge(edge, *self._compared(edge, values, values), build=not self.built)
        finally:
            self.owned.train(modes[self.owned])  # with the layers that were built just now
            for module, mode in modes.items():
                module.training = mode
            for tap in self._taps.values():
                tap.relearn()
        self.built = True
        return self

    def _compared(
        self, edge: Edge, values: Mapping[str, Tensor], taught: Mapping[str, Tensor]
    ) -> tuple[Any, list[Tensor]]:
        """What an edge's target shows, and its sources beside it, on its device."""
        student, teachers = _reading.read(values, edge.target), [taught[source] for source in edge.sources]
        if self.devices:
            teachers = [teacher.to(values[edge.targets[0]].device) for teacher in teachers]
        return student, teachers

    def _losses(
        self,
        inputs: Any,
        labels: Any,
        index: Tensor | None,
        given: Mapping[str, Tensor],
        live: tuple[int, ...],
        plan: Plan,
        weights: Sequence[float] | Tensor,
    ) -> dict[str, Tensor]:
        values = self._values(inputs, labels, index, given, plan)
        taught = {source: values[source].detach() for i in live for source in self.edges[i].sources}
        losses: dict[str, Tensor] = {}
        learns = self.training and torch.is_grad_enabled()
        with _reading.full_precision(values):
            for i in live:
                edge = self.edges[i]
                student, teachers = self._compared(edge, values, taught)
                if learns and not any(values[text].requires_grad for text in edge.targets):
                    raise RunError(f"edge {edge.name!r} teaches nothing: what it points to depends on no weight")
                for name, value in named_terms(edge, student, teachers):
                    if name in losses:
                        raise UsageError(f"two losses are called {name!r}: rename the edge or the term")
                    losses[name] = _weighted(value.mean() if value.ndim else value, weights[i])
        if self.devices and losses:  # they are summed
            together = next(iter(losses.values())).device
            losses = {name: value.to(together) for name, value in losses.items()}
        return losses

    def _values(
        self, inputs: Any, labels: Any, index: Tensor | None, given: Mapping[str, Tensor], plan: Plan
    ) -> dict[str, Tensor]:
        """Every tensor that the live edges read: each node runs once, and only if somebody needs it."""
        batch = {"inputs": inputs, "labels": labels, "index": index}
        values = {text: _reading.at_least_single(tensor) for text, tensor in given.items()}
        seen: dict[Any, Any] = {}
        version = written(inputs)
        for root, learns, addresses in plan:
            if root in BATCH:
                for text in addresses:
                    values[text] = _reading.from_batch(batch[root], self._addresses[text])
                continue
            sight = self.devices.get(root), id(self.views.get(root))
            if sight not in seen:
                seen[sight] = self._see(root, inputs)
            untouched = written(seen[sight])
            taps = {text: self._taps[text] for text in addresses if text in self._taps}
            try:
                for tap in taps.values():
                    tap.open()
                with contextlib.nullcontext() if learns else torch.no_grad():
                    output = self.nodes[root](seen[sight])
                for text in addresses:
                    tensor = taps[text].take() if text in taps else select(output, self._addresses[text].pick, text)
                    values[text] = _reading.at_least_single(tensor)
            except Exception as error:
                if not torch.compiler.is_compiling():
                    error.add_note(f"while node {root!r} ran")
                raise
            finally:
                for tap in taps.values():
                    tap.close()
            if written(inputs) != version:
                raise RunError(f"node {root!r} overwrote the inputs in place: give it a view that copies them")
            if written(seen[sight]) != untouched:
                del seen[sight]  # its own copy: the next node looks for itself
        return values

    def _accept(self, given: Mapping[str, Tensor] | None) -> dict[str, Tensor]:
        """What the caller gives, if it may be given; in one order, whatever the caller's."""
        for text in given or {}:
            if text not in self._addresses:
                raise unknown("given address", text, self._addresses)
            if self._addresses[text].root not in self.frozen:
                raise UsageError(f"given: {text!r} is not in a frozen node; only what does not learn can be given")
        return {text: given[text] for text in sorted(given)} if given else {}

    def _plan(self, live: tuple[int, ...], given: tuple[str, ...] = ()) -> Plan:
        """Which roots to read for a set of live edges: name, whether gradients are needed, addresses not given."""
        if (live, given) not in self._plans:
            targets = {self.target_of(self.edges[i]) for i in live}
            wanted: dict[str, dict[str, None]] = {}
            for i in live:
                for text in (*self.edges[i].targets, *self.edges[i].sources):
                    if text not in given:
                        wanted.setdefault(self._addresses[text].root, {})[text] = None
            # teachers before students: their activations are gone before those kept for the backward pass pile up
            order = sorted(wanted, key=lambda root: (root not in BATCH, root in targets))
            self._plans[live, given] = tuple((root, root in targets, tuple(wanted[root])) for root in order)
        return self._plans[live, given]

    def _see(self, name: str, inputs: Any) -> Any:
        view, device = self.views.get(name), self.devices.get(name)
        brought = inputs if device is None else _reading.bring(inputs, device)
        return brought if view is None else view(brought)

    def _on_device(self, weights: list[float]) -> Tensor:
        """Weights as a tensor, kept while they do not change: constant gates never cause a transfer."""
        key = tuple(weights)
        if self._weights is None or self._weights[0] != key:
            self._weights = key, torch.tensor(weights, dtype=torch.float64)
        return self._weights[1]

    def __repr__(self) -> str:
        return printed(self.nodes, self.edges)


def _weighted(loss: Tensor, weight: float | Tensor) -> Tensor:
    if isinstance(weight, Tensor):
        return loss * weight.to(loss.dtype)
    return loss if weight == 1.0 else loss * weight


def _remove(handles: list[Any]) -> None:
    for handle in handles:
        handle.remove()
