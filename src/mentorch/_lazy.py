"""Names that are imported when they are first used."""

import ast
import functools
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any


def lazily(package: str, file: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of a package that imports its names for type checkers alone (PEP 562).

    The list is what stands below ``if TYPE_CHECKING:``, one ``from module import name as name`` for each name, so that
    editors, type checkers and the interpreter read the same lines.

    Args:
        package: its name.
        file: its ``__init__.py``.
    """

    def get(name: str) -> Any:
        if name == "__all__":
            return sorted(_listed(file))
        if name not in _listed(file):
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        home = _listed(file)[name]
        found = import_module(f"{package}.{name}") if home == package else getattr(import_module(home), name)
        setattr(sys.modules[package], name, found)  # the next time it is simply there
        return found

    return get, lambda: sorted({*vars(sys.modules[package]), *_listed(file)})


@functools.cache
def _listed(file: str) -> Mapping[str, str]:
    """Name and module of each import below ``if TYPE_CHECKING:``."""
    tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    blocks = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    lines = [line for block in blocks for line in block.body if isinstance(line, ast.ImportFrom)]
    return {alias.name: str(line.module) for line in lines for alias in line.names}
