"""A real browser without a window, for tests of pages."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--enable-logging=stderr",
    "--v=0",
)
WIDTHS = (390, 1280)  # of a phone and of a desk

needed = pytest.mark.skipif(PROGRAM is None, reason="no chromium, chromium-browser or google-chrome on this machine")


def browse(folder: Path, page: Path, *flags: str) -> tuple[str, list[str]]:
    """What the browser prints, and lines of its console.

    A browser that hangs is started once more: that is not the page's doing.
    """
    for profile in ("profile", "another"):
        command = [PROGRAM, *FLAGS, f"--user-data-dir={folder / profile}", *flags, page.as_uri()]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        except subprocess.TimeoutExpired:
            continue
        return done.stdout, re.findall(r"CONSOLE.*", done.stderr)
    raise TimeoutError(f"{PROGRAM} was started twice and did not end")
