"""``mentorch atlas``."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mentorch import data, zoo
from mentorch._errors import UsageError
from mentorch._files import locked, read_json
from mentorch.cli._engine import engine
from mentorch.cli._run import used
from mentorch.cli._terminal import err, say, show_table
from mentorch.transferability import Frame, Store, write_atlas
from mentorch.transferability import _atlas as atlases

_DRAWN = 5000  # networks: a page with more would be slow


@dataclass(frozen=True)
class Asked:
    """What was asked for; see the options of the command."""

    zoo: Path
    probes: tuple[str, ...]
    count: int
    size: int | None
    k: int
    weight: float
    at: str
    engine: str
    workers: int
    shard: str | None
    trust: bool
    parquet: bool
    data_root: Path | None


def run(asked: Asked, folder: Path, *, quiet: bool, as_json: bool) -> None:
    """Embed what is missing, then write the map; or embed a part of it."""
    if asked.parquet:
        atlases.check_parquet()
    if used(folder):
        raise UsageError(f"{folder} already holds a run: choose another --name")
    entries = list(zoo.entries(asked.zoo))
    if not entries:
        raise UsageError(f"no network is kept below {asked.zoo}")
    images = atlases.probes(
        [data.load(name, root=asked.data_root) for name in asked.probes], asked.count, size=asked.size
    )
    frame = Frame.of(images)
    task = atlases.Task(frame, images, at=asked.at, trust=asked.trust)
    store = Store(folder / "embeddings", frame)
    part = _part(entries, asked.shard)
    with _progress(len(part), quiet) as tell:
        found = atlases.fill(store, task, part, engine=engine(asked.engine, asked.workers), tell=tell)
    if asked.shard is not None:
        _tell_failures((entry.name, entry.failure) for entry in found if entry.failure)
        return
    with locked(folder):
        record = _write(
            asked, atlases.chart(store, task, found, keep=max(64, 6 * asked.k), weights=[asked.weight]), folder
        )
    _show(record, folder, as_json=as_json)


def _part(entries: list[zoo.Entry], shard: str | None) -> list[zoo.Entry]:
    if shard is None:
        return entries
    found = re.fullmatch(r"(\d+)/(\d+)", shard)
    number, of = map(int, found.groups()) if found else (0, 0)
    if not 1 <= number <= of:
        raise UsageError(f"--shard is written I/N, such as 2/8, not {shard!r}")
    return entries[number - 1 :: of]


@contextmanager
def _progress(total: int, quiet: bool) -> Iterator[atlases.Tell]:
    """A bar on standard error, while someone watches."""
    columns = TextColumn("networks"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=err, disable=quiet or not err.is_terminal, transient=True) as bar:
        line = bar.add_task("networks", total=total)
        yield lambda entry: bar.advance(line)


def _write(asked: Asked, atlas: atlases.Atlas, folder: Path) -> dict[str, Any]:
    """All files of the map; the page and the picture for as many networks as one can look at."""
    from mentorch.reports import write_atlas_page, write_atlas_picture

    made = {"name": folder.name, "zoo": str(asked.zoo), "probes": asked.probes, "at": asked.at}
    record = read_json(write_atlas(atlas, folder, k=asked.k, weight=asked.weight, parquet=asked.parquet, made=made))
    if len(atlas) <= _DRAWN:
        write_atlas_picture(folder)
        say(f"page: {write_atlas_page(folder)}")
    else:
        say(f"{len(atlas):,} networks are more than a page can show ({_DRAWN:,}): {folder / 'atlas.json'} has all")
    found: dict[str, Any] = record
    return found


def _show(record: dict[str, Any], folder: Path, *, as_json: bool) -> None:
    _tell_failures([(failure["name"], failure["reason"]) for failure in record["failures"]])
    if as_json:
        typer.echo(json.dumps(record, indent=2))
        return
    groups: dict[int, list[dict[str, Any]]] = {}
    for network in record["networks"]:
        groups.setdefault(network["community"], []).append(network)
    rows = [
        {
            "community": str(number),
            "networks": str(len(members)),
            **{fact: _mostly(members, fact) for fact in ("dataset", "network", "task")},
        }
        for number, members in sorted(groups.items())[:20]
    ]
    show_table(rows, title=f"{folder.name}: {len(record['networks'])} networks, {len(groups)} communities")


def _mostly(members: list[dict[str, Any]], fact: str) -> str:
    """What most of the members have in common, and how many of them."""
    value, times = Counter(str(member.get(fact, "not known")) for member in members).most_common(1)[0]
    return value if times == len(members) else f"{value} ({100 * times // len(members)} %)"


def _tell_failures(failures: Iterable[tuple[str, str]]) -> None:
    for name, reason in failures:
        say(f"left out: {name}: {reason}")
