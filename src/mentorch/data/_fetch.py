"""Downloads of official archives, with checksum and progress."""

import sys
from pathlib import Path

from mentorch._errors import RunError, UsageError
from mentorch.data._find import cache_folder
from mentorch.data._sources import source_named


def fetch(name: str, root: str | Path | None = None) -> Path:
    """Download a data set from its official place; files that are there and whole are kept.

    Args:
        name: a data set's name.
        root: folder to put it in, in a sub-folder of the data set's name; default ``~/.cache/mentorch``.

    Returns:
        The folder with the archives.

    Raises:
        UsageError: if the name is unknown, or the data set needs no download.
        RunError: if the download fails or its checksum is wrong; nothing half done is left behind.
    """
    if name == "digits" or name.startswith("folder:"):
        raise UsageError(f"{name!r} needs no download")
    source = source_named(name)
    folder = (Path(root).expanduser() if root else cache_folder()) / source.name
    for url, digest in source.downloads:
        _download(url, digest, folder)
    return folder


def _download(url: str, digest: str, folder: Path) -> None:
    import pooch

    name = url.rsplit("/", 1)[1]
    downloader = pooch.HTTPDownloader(progressbar=_Bar(name), chunk_size=1 << 16)
    try:
        pooch.retrieve(url, known_hash=f"sha256:{digest}", fname=name, path=folder, downloader=downloader)
    except (OSError, ValueError) as error:
        if (answer := getattr(error, "response", None)) is not None:
            answer.close()  # an unread refusal would hold its socket until the garbage is collected
        # the libraries below report a closed network in paragraphs
        reason = " ".join(str(error).split())[:200]
        raise RunError(f"cannot download {url} ({reason}): put {name} into {folder} by hand") from error


class _Bar:
    """The interface pooch expects of a progress bar, drawn by rich; silent when nobody is watching."""

    def __init__(self, name: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, console=Console(file=sys.stderr), disable=not sys.stderr.isatty())
        self._task = self._progress.add_task(name, total=None)
        self.total = 0

    def update(self, amount: int) -> None:
        self._progress.start()
        self._progress.update(self._task, advance=amount, total=self.total)

    def reset(self) -> None:
        self._progress.update(self._task, completed=0)

    def close(self) -> None:
        self._progress.stop()
