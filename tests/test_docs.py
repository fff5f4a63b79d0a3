"""What the documents claim: examples run, links lead somewhere, and the table of papers is complete."""

import re
from pathlib import Path

import pytest

import mentorch as mt

ROOT = Path(__file__).parents[1]
PAGES = sorted(path.relative_to(ROOT).as_posix() for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def text(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def rows(table: str) -> list[list[str]]:
    """The cells of a Markdown table, without its head."""
    lines = [line for line in table.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def in_code(cell: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", cell)


def test_the_python_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    blocks = re.findall(r"```python\n(.*?)```", text("README.md"), flags=re.DOTALL)
    for block in blocks:  # a reader goes from top to bottom
        exec(compile(block, "README.md", "exec"), names)
    history = names["history"]
    assert isinstance(history, mt.training.History)


@pytest.mark.parametrize("page", PAGES)
def test_links_inside_the_repository_lead_to_files(page: str) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text(page)):
        if "://" not in target:
            assert ((ROOT / page).parent / target).exists(), target


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_targets_of_make_exist(page: str) -> None:
    named = set(re.findall(r"make ([a-z][a-z-]+)", "\n".join(in_code(text(page)))))
    named |= set(re.findall(r"^make ([a-z-]+)", text(page), flags=re.MULTILINE))
    assert named <= set(re.findall(r"^([a-z-]+):", text("Makefile"), flags=re.MULTILINE))
    assert named


def test_every_loss_with_a_paper_has_a_row_with_its_file_and_its_test() -> None:
    listed = {name: row for row in rows(text("docs/papers.md")) for name in in_code(row[1])}
    for name, info in mt.losses.catalogue().items():
        if not info.paper:
            continue
        assert name in listed, f"docs/papers.md has no row for {name}"
        assert info.function.__module__.replace(".", "/") in listed[name][2]


@pytest.mark.parametrize("row", rows(text("docs/papers.md")), ids=lambda row: row[0][:30])
def test_files_in_the_table_of_papers_exist(row: list[str]) -> None:
    for path in in_code(row[2]) + in_code(row[3]):
        assert (ROOT / path).is_file(), path
