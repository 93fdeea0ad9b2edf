"""One page that needs nothing else: no network, no script. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from string import Template

TEMPLATE = Path(__file__).with_name("page.html")


def document(title: str, body: str) -> str:
    """`body` is HTML that was escaped where it had to be."""
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(title=escape(title), body=body)


def markdown_table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterable[str]:
    """Lines of Markdown."""
    heads = list(columns)
    yield f"| {' | '.join(heads)} |"
    yield "|" + " --- |" * len(heads)
    for cells in rows:
        yield f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def facts_table(rows: Sequence[tuple[str, str]]) -> str:
    """Two columns: what, and what it is."""
    cells = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in rows)
    return f"<table>{cells}</table>"
