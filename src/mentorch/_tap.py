"""Addresses and taps: where a tensor is read, and the hooks that read it truthfully."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from mentorch._errors import RunError, UsageError, unknown

BATCH = ("inputs", "labels", "index")
"""Roots of addresses that read the batch instead of a node."""


@dataclass(frozen=True)
class Address:
    """Where a tensor is read: ``root[.path][:pick]``.

    ``root`` is a node, or ``inputs``, ``labels``, ``index``. ``path`` is PyTorch's own module path inside the node (for
    the batch: a key, ``labels.depth``). ``pick`` is ``in`` for the module's input, else a field or index of its output.
    """

    root: str
    path: str = ""
    pick: str = ""

    def __str__(self) -> str:
        return self.root + (f".{self.path}" if self.path else "") + (f":{self.pick}" if self.pick else "")

    @property
    def of_batch(self) -> bool:
        """Whether the batch is read, not a node."""
        return self.root in BATCH

    @property
    def tapped(self) -> bool:
        """Whether reading needs a hook; a node's own output does not."""
        return not self.of_batch and bool(self.path or self.pick == "in")


def parse(text: str, nodes: Mapping[str, nn.Module]) -> Address:
    """Read an address and check it against the nodes.

    Raises:
        UsageError: if the node or the module does not exist; the message lists what does.
    """
    left, _, pick = text.partition(":")
    root, _, path = left.partition(".")
    address = Address(root, path, pick)
    if not root or str(address) != text:
        raise UsageError(f"address {text!r} is not 'node', 'node.module' or 'node.module:field'")
    if address.of_batch:
        if pick:
            raise UsageError(f"address {text!r}: the batch is read with a dot, as in {left + '.' + pick!r}")
        return address
    if root not in nodes:
        raise unknown("node", root, [*nodes, *BATCH])
    known = dict(nodes[root].named_modules(remove_duplicate=False))
    if path and path not in known:
        raise UsageError(f"address {text!r}: {unknown(f'module of {root!r}', path, _shallow(known))}")
    return address


def _shallow(paths: Collection[str], most: int = 40) -> list[str]:
    """The paths nearest to the root, so that an error stays readable for deep networks."""
    return sorted((p for p in paths if p), key=lambda p: (p.count("."), p))[:most]


def select(value: Any, pick: str, address: object) -> Tensor:
    """A tensor out of an output that may be a mapping, a sequence or a dataclass.

    Raises:
        RunError: if there is no such field, or what is there is not a tensor.
    """
    if pick:
        if isinstance(value, Mapping):
            found = value.get(pick)
        elif isinstance(value, tuple | list) and pick.isdecimal():
            found = value[int(pick)] if int(pick) < len(value) else None
        else:
            found = getattr(value, pick, None) if not isinstance(value, Tensor) else None
        if not isinstance(found, Tensor):
            raise RunError(f"address '{address}': no tensor {pick!r} in {_fields(value)}")
        return found
    if not isinstance(value, Tensor):
        sign = "." if isinstance(address, Address) and address.of_batch else ":"
        raise RunError(f"address '{address}' is not one tensor but {_fields(value)}: add '{sign}' and the one you mean")
    return value


def _fields(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {list(value.shape)}"
    if isinstance(value, Mapping):
        return f"a mapping with {', '.join(map(repr, value))}"
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    fields = getattr(value, "__dataclass_fields__", None) or getattr(value, "__dict__", {})
    return f"a {type(value).__name__} with {', '.join(map(repr, fields))}"


class Tap:
    """Reads one tensor inside a running network, as it was when it passed.

    A later in-place operation (an in-place ReLU) would change what was read. The first pass therefore keeps a copy and
    finds out, from the tensor's version, whether that was needed; if not, later passes keep a reference, still checked.
    """

    def __init__(self, address: Address):
        self.address = address
        self._text = str(address)  # the compiler can show a string, not a dataclass
        self._open = False
        self._copy = True
        self._value: Tensor | None = None
        self._watched: Tensor | None = None
        self._version = 0

    def install(self, node: nn.Module) -> RemovableHandle:
        """Hook into the module that the address names."""
        module = node.get_submodule(self.address.path)
        if self.address.pick == "in":
            return module.register_forward_pre_hook(self._on_input, with_kwargs=True)
        return module.register_forward_hook(self._on_output)

    def open(self) -> None:
        """Start listening; what passes while closed (recomputation, evaluation) is not read."""
        self._open, self._value, self._watched = True, None, None

    def close(self) -> None:
        """Stop listening and let go of what was read."""
        self._open, self._value, self._watched = False, None, None

    def relearn(self) -> None:
        """Find out anew whether a copy is needed (another mode may overwrite other tensors)."""
        self._copy = True

    def take(self) -> Tensor:
        """What was read.

        Raises:
            RunError: if the module did not run, or what was read has since been overwritten.
        """
        value, watched = self._value, self._watched
        self.close()
        if value is None:
            raise RunError(
                f"nothing passed address '{self._text}': the module did not run in this forward pass "
                "(or its network was compiled before the graph was built: build the graph first)"
            )
        if watched is not None:
            copied, self._copy = self._copy, watched._version != self._version
            if self._copy and not copied:
                raise RunError(
                    f"what passed address '{self._text}' was overwritten in place, unlike in the first forward pass"
                )
        return value

    def _on_input(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self._open:
            self._keep(args[0] if args else next(iter(kwargs.values()), None))

    def _on_output(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if self._open:
            self._keep(select(output, self.address.pick, self._text))

    def _keep(self, value: Any) -> None:
        if not isinstance(value, Tensor):
            raise RunError(f"address '{self._text}' is not a tensor but {_fields(value)}")
        if self._value is not None:
            raise RunError(
                f"address '{self._text}' is passed more than once in a forward pass: name a module that runs once"
            )
        if torch.compiler.is_compiling():
            self._value = value.clone()  # the compiler removes the copy where nothing is overwritten
            return
        if value.is_inference():
            self._value = value.clone()  # such tensors have no version to tell by
            return
        self._value = value.clone() if self._copy else value
        self._watched, self._version = value, value._version
