"""What campaigns share: their counts, shown at the end."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PREFIX = "faults: "


@pytest.fixture
def count(record_property: Callable[[str, Any], None]) -> Callable[..., None]:
    """``count(what=number, ...)``: add to what the campaigns report at the end of the session."""

    def add(**numbers: int) -> None:
        for what, number in numbers.items():
            record_property(f"{PREFIX}{what.replace('_', ' ')}", number)

    return add


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working folder, on a machine without data."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MENTORCH_DATA", raising=False)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    found: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, value in getattr(report, "user_properties", ()):
                if name.startswith(PREFIX) and getattr(report, "when", "") == "call":
                    found[name.removeprefix(PREFIX)] += value
    if found:
        terminalreporter.section("faults")
        for name in sorted(found):
            terminalreporter.write_line(f"{found[name]:8,} {name}")
