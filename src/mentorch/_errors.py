"""Errors that a user can act on: one line, naming the thing, with what to do."""

import difflib
from collections.abc import Iterable


class MentorchError(Exception):
    """Anything mentorch raises on purpose; the command line prints it as one line."""


class UsageError(MentorchError, ValueError):
    """The request itself is wrong: an unknown name, a bad option (exit code 2 on the command line)."""


class RunError(MentorchError, RuntimeError):
    """The request was fine, the work failed: a damaged file, a NaN loss, a full disk (exit code 1)."""


def unknown(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """An error for a name that does not exist, with the nearest names that do.

    >>> str(unknown("network", "resnet21", ["resnet20", "vgg8"]))
    "unknown network 'resnet21': did you mean 'resnet20'? (known: resnet20, vgg8)"
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    hint = f"did you mean {' or '.join(repr(n) for n in near)}? " if near else ""
    return UsageError(f"unknown {kind} {name!r}: {hint}(known: {', '.join(names)})")
