"""What is in a folder of networks, good and bad: one that cannot be used never hides the others."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from mentorch._errors import MentorchError, RunError, UsageError
from mentorch._files import read_json
from mentorch.zoo._card import Card
from mentorch.zoo._store import CARD, WEIGHTS, load, read


@dataclass(frozen=True)
class Entry:
    """A network of a zoo, or why it cannot be used.

    Attributes:
        name: from its card; without a card that can be read, its folder's.
        folder: where it is kept.
        card: what it says of itself, if it can be read.
        failure: why it cannot be used, in one line; empty if nothing is known against it.
    """

    name: str
    folder: Path
    card: Card | None = None
    failure: str = ""

    @property
    def hash(self) -> str | None:
        """What its weights hash to, by its card."""
        return self.card.hash if self.card is not None else None

    def load(self, *, trust: bool = False) -> tuple[nn.Module, Card]:
        """The network and its card; see :func:`load`.

        Raises:
            UsageError: if this entry is a failure; else as :func:`load`.
        """
        if self.failure:
            raise UsageError(f"{self.name}: {self.failure}")
        return load(self.folder, trust=trust)


def entries(root: str | Path) -> Iterator[Entry]:
    """Every network below ``root``, by the order of their folders: cards are read, weights are not touched.

    Cards of caches and of partners of a search are left out. A damaged card, missing weights and a name that an earlier
    entry has already are failures of that entry alone.

    Raises:
        UsageError: if ``root`` is not a folder.
    """
    root = Path(root)
    if not root.is_dir():
        raise UsageError(f"zoo {root} is not a folder")
    return _entries(root)


def check(entry: Entry, *, trust: bool = False) -> Entry:
    """The same entry after its weights were read, hashed and put into its network; what went wrong is its failure.

    Args:
        entry: from :func:`entries`.
        trust: see :func:`load`.
    """
    if entry.failure:
        return entry
    try:
        load(entry.folder, trust=trust)
    except Exception as error:  # another package may build the network: whatever it raises is about this entry
        return replace(entry, failure=reason(error))
    return entry


def reason(error: Exception) -> str:
    """An error in one line; with its type, if it is not one of ours.

    >>> reason(KeyError("fc")), reason(UsageError("no card"))
    ("KeyError: 'fc'", 'no card')
    """
    text = " ".join(str(error).split())
    return text if isinstance(error, MentorchError) else f"{type(error).__name__}: {text}"


def _entries(root: Path) -> Iterator[Entry]:
    folders: dict[str, Path] = {}
    for path in sorted(root.rglob(CARD)):
        entry = _entry(path.parent)
        if entry.card is None and _of_another_kind(path):
            continue
        if not entry.failure:
            first = folders.setdefault(entry.name, entry.folder)
            if first != entry.folder:
                entry = replace(entry, failure=f"two networks are called {entry.name!r}: the other is {first}")
        yield entry


def _entry(folder: Path) -> Entry:
    try:
        card = read(folder)
    except (MentorchError, OSError) as error:
        return Entry(folder.name, folder, failure=reason(error))
    missing = "" if (folder / WEIGHTS).is_file() else f"{folder} has a card but no {WEIGHTS}"
    return Entry(card.name, folder, card, missing)


def _of_another_kind(path: Path) -> bool:
    """Whether a card is one of those that caches and searches keep for themselves, which are not about a network."""
    try:
        content = read_json(path)
    except RunError:
        return False
    if not isinstance(content, Mapping):
        return False
    schema = str(content.get("schema", ""))
    own = schema.startswith("mentorch.") and not schema.startswith("mentorch.card/")
    return own or ("schema" not in content and "sha256" in content)
