"""What pages are made of: one HTML file that needs nothing but itself, for a phone, a desk and a printer."""

import json
from collections.abc import Iterable
from html import escape
from importlib.resources import files
from typing import Any

from mentorch.reports._format import MISSING, text

# the browser itself then refuses scripts and anything that is not in the file
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def document(title: str, body: str) -> str:
    """A whole page."""
    style = files("mentorch.reports").joinpath("page.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{words_of(title)} · mentorch</title>\n<style>\n{style}</style>\n"
        f"</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def section(title: str, body: str, level: int) -> str:
    """A part with a heading; nothing, if it is empty."""
    return f"<section><h{level}>{words_of(title)}</h{level}>{body}</section>\n" if body else ""


def html_table(rows: list[dict[str, str]], kind: str = "methods") -> str:
    """Rows of one and the same columns; the first column stays in view."""
    if not rows:
        return ""
    head = "".join(f'<th scope="col">{words_of(name)}</th>' for name in rows[0])
    body = ""
    for row in rows:
        first, *others = row.values()
        long = ' class="long"' if len(first) > 20 else ""
        cells = "".join(f"<td>{words_of(cell)}</td>" for cell in others)
        body += f'<tr><th scope="row"{long}>{words_of(first)}</th>{cells}</tr>'
    return scroll(f'<table class="{kind}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>')


def facts_table(known: dict[str, Any]) -> str:
    """Names and values."""
    rows = "".join(
        f'<tr><th scope="row">{words_of(name)}</th><td>{_value(value)}</td></tr>' for name, value in known.items()
    )
    return scroll(f'<table class="facts"><tbody>{rows}</tbody></table>') if rows else ""


def listed(lines: Iterable[str]) -> str:
    """A list; nothing, if it is empty."""
    items = "".join(f"<li>{words_of(line)}</li>" for line in lines)
    return f"<ul>{items}</ul>" if items else ""


def scroll(body: str) -> str:
    """What may be wider than the page."""
    return f'<div class="scroll" tabindex="0">{body}</div>'


def words_of(value: object) -> str:
    """Text, escaped, on one line; a number and its percent sign stay together."""
    return escape(text(value).replace(" %", "\u00a0%"))


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "<br>".join(f"{words_of(name)}: {_value(item)}" for name, item in value.items())
    return words_of(MISSING if value is None else json.dumps(value) if isinstance(value, list) else value)
