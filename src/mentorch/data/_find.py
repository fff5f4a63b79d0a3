"""Where archives lie on this machine."""

import os
from collections.abc import Iterator
from pathlib import Path

from mentorch._errors import RunError, UsageError
from mentorch.data._archives import read_members
from mentorch.data._sources import SOURCES, Source


def cache_folder() -> Path:
    """Where downloads go unless the user names another place."""
    return Path("~/.cache/mentorch").expanduser()


def places(source: Source, root: Path | None) -> list[Path]:
    """The places searched, in order: ``root``, those of `$MENTORCH_DATA`, the system's, the cache."""
    named = [Path(part).expanduser() for part in os.environ.get("MENTORCH_DATA", "").split(os.pathsep) if part]
    return [*([root] if root else []), *named, *(Path(part) for part in source.system), cache_folder()]


def find(source: Source, root: Path | None) -> dict[str, Path] | None:
    """Archive file -> path of what holds it, from the first place that has them all; None where no place does."""
    for folder in _folders(source, root):
        paths = {name: path for name in source.files if (path := _holder(source, folder, name))}
        if len(paths) == len(source.files) and not _is_another(source, paths):
            return paths
    return None


def not_found(source: Source, root: Path | None) -> UsageError:
    """The error for a data set that is nowhere: where it was looked for, what is incomplete, how to get it."""
    looked = ", ".join(str(place) for place in places(source, root))
    ways = f"get it with `mentorch data fetch {source.name}`{f' ({source.hint})' if source.hint else ''}"
    for folder in _folders(source, root):
        lacking = [name for name in source.files if not _holder(source, folder, name)]
        if 0 < len(lacking) < len(source.files):
            ways = f"{folder} lacks {', '.join(lacking)}; {ways}"
            break
    return UsageError(
        f"data set {source.name!r} not found in {looked} or a usual sub-folder: {ways}, or name its place"
    )


def _folders(source: Source, root: Path | None) -> Iterator[Path]:
    for place in places(source, root):
        # a sub-folder says which data set it holds, the place itself may hold another one in files of the same names
        yield from (place / name for name in source.folders)
        yield place


def _holder(source: Source, folder: Path, name: str) -> Path | None:
    dotted = name.replace("-idx", ".idx")
    spellings = dict.fromkeys((name, f"{name}.gz", dotted, f"{dotted}.gz", source.tarball or name))
    return next((path for spelling in spellings if (path := folder / spelling).is_file()), None)


def _is_another(source: Source, paths: dict[str, Path]) -> bool:
    """Whether the labels are those of another data set that is distributed in files of the same names."""
    rivals = [s.opening for s in SOURCES.values() if s is not source and s.opening and s.files == source.files]
    if not rivals:
        return False
    name = source.files[1]
    try:
        labels = read_members({name: paths[name]})[name][8:]
    except RunError:
        return False
    return any(labels.startswith(opening) for opening in rivals)
