"""One use of the command line: its run folder, its recipe file, its results."""

import atexit
import contextlib
import datetime
import itertools
import json
import shlex
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import typer

from mentorch import _processes
from mentorch._errors import RunError, UsageError
from mentorch._files import finite, locked
from mentorch.cli._memory import keep_freed_memory
from mentorch.cli._recipe import Recipe
from mentorch.cli._terminal import err, out, row_line, say, show_table
from mentorch.cli._yaml import read_recipe, write_recipe

# what several processes, started by torchrun, do together
TOGETHER = ("train", "distill", "compare", "graph", "amalgamate", "branch", "evolve", "slim")
# what may change when a run is resumed: where things are, what is shown, and how much memory is used
_HARMLESS = frozenset(
    (
        "name",
        "out",
        "data_root",
        "download",
        "device",
        "threads",
        "eval_batch_size",
        "min_teacher_acc",
        "results",
        "trials",
        "finals",
    )
)


@dataclass
class Session:
    """How a recipe is carried out.

    Attributes:
        recipe: what.
        resume: go on in the folder.
        quiet: show only the result.
        as_json: show the result as JSON.
        dry_run: check everything, train nothing.
        fresh: take a new folder if the named one is in use.
        within: results of the run that this one is a part of, in a folder inside; JSON shows both in one.
        held: whether the folder is ours at the moment.
    """

    recipe: Recipe
    resume: bool = False
    quiet: bool = False
    as_json: bool = False
    dry_run: bool = False
    fresh: bool = False
    within: Mapping[str, Any] | None = None
    held: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        if self.recipe.threads is not None:
            torch.set_num_threads(self.recipe.threads)
        self.command = str(getattr(self.recipe, "command", "run"))
        if _processes.started_together() and self.command not in TOGETHER:
            raise UsageError(f"mentorch {self.command} works in one process: start it without torchrun")
        try:
            self.folder = self._choose()
        except OSError as error:  # a name that is too long, a folder that nobody may look into
            words = f"cannot use a run folder in {self.recipe.out}: {error.strerror}: choose another --name or --out"
            raise UsageError(words) from error
        if _processes.started_together():
            self._share()

    def _share(self) -> None:
        """Of processes that work together the first one has the folder; each other one has a copy that nobody reads."""
        _processes.join()
        if _processes.rank():
            own = tempfile.mkdtemp(prefix="mentorch-")
            atexit.register(shutil.rmtree, own, ignore_errors=True)
            copy = Path(own) / self.folder.name
            if self.folder.exists():
                shutil.copytree(self.folder, copy)
            self.folder = copy
        _processes.wait()  # from here on the first one may write

    def _choose(self) -> Path:
        """The run folder: the one that was named, else a new one."""
        out, name = Path(self.recipe.out), self.recipe.name
        if name is not None and (Path(name).name != name or name == ".."):
            raise UsageError(f"name {name!r} is not that of a folder: --out says where it is made")
        stem = name or f"{self.command}-{self.recipe.data.rstrip('/').rpartition('/')[2].replace(':', '-')}"
        folder = out / stem
        if self.resume:
            if not (folder / "recipe.yaml").exists():
                raise UsageError(f"nothing to resume in {folder}: there is no recipe.yaml (say --name)")
            return folder
        if name is not None and not self.fresh and used(folder):
            raise UsageError(f"{folder} already holds a run: --resume goes on with it, or choose another --name")
        folders = itertools.chain([folder], (out / f"{stem}-{number}" for number in itertools.count(2)))
        return next(folder for folder in folders if not used(folder))

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Lock the folder, write the recipe into it, and say how to go on if this is interrupted."""
        keep_freed_memory()
        with locked(self.folder):
            named = self.recipe.model_copy(update={"name": self.folder.name})
            if self.resume:
                self._check_same(named)
            write_recipe(self.folder / "recipe.yaml", named)
            self.held = True
            try:
                yield
            except KeyboardInterrupt as error:
                typer.echo(f"interrupted, nothing is lost; go on with: {self._again()}", err=True)
                raise typer.Exit(130) from error
            except OSError as error:
                raise RunError(f"cannot go on in {self.folder}: {error.strerror or error}") from error

    def _check_same(self, named: Recipe) -> None:
        before, now = read_recipe(self.folder / "recipe.yaml").to_plain(), named.to_plain()
        for key in sorted({*before, *now} - _HARMLESS, key=lambda key: (key != "command", key)):
            if before.get(key) != now.get(key):
                raise UsageError(
                    f"{self.folder} was started with {key}={before.get(key)!r}, not {now.get(key)!r}: "
                    f"resume with: {self._again()}"
                )

    def _again(self) -> str:
        """How this run goes on, as one types it."""
        return f"mentorch run {shlex.quote(str(self.folder / 'recipe.yaml'))} --resume"

    @property
    def title(self) -> str:
        """What the networks of this run are named after: its folder, or that of the run that it is a part of."""
        return (self.folder if self.within is None else self.folder.parent).name

    def on_row(self, row: Mapping[str, Any]) -> None:
        """Tell of a finished run."""
        self.tell(row_line(row))

    def tell(self, text: str) -> None:
        """Tell something on the way, and keep it in the folder's log."""
        if not self.quiet:
            say(text)
        if self.held:
            with (self.folder / "output.log").open("a", encoding="utf-8") as log:
                log.write(f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M:%S} {text}\n")

    def finish(self, results: Mapping[str, Any]) -> None:
        """Show the results, write the report, and fail if a part failed."""
        from mentorch.reports import sentence, table, write

        page = write(self.folder) if self.recipe.results and not _processes.rank() else None
        for warning in results.get("warnings", ()):
            err.print(f"warning: {warning}", markup=False, soft_wrap=True)
        if self.as_json:
            told = results if self.within is None else {**self.within, self.folder.name: results}
            typer.echo(json.dumps(finite(told), indent=2))
        else:
            show_table(table(dict(results)), title=f"{self.folder.name}: {results['data']['name']}")
            out.print(sentence(dict(results)), markup=False)
        if page is not None:
            err.print(f"report: {page}", markup=False, soft_wrap=True)
        failed = [f"{row['method']} seed {row['seed']}: {row['error']}" for row in results["rows"] if "error" in row]
        if failed:
            raise RunError(f"{len(failed)} of {len(results['rows'])} runs failed, the first is {failed[0]}")


def used(folder: Path) -> bool:
    """Whether something was computed in a folder."""
    return any((folder / part).exists() for part in ("fits", "trials", "rows.jsonl", "results.json"))
