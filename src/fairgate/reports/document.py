"""A report as three documents; the page needs nothing else: no network, no script."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from string import Template

import msgspec

TEMPLATE = Path(__file__).with_name("page.html")


def document(title: str, body: str) -> str:
    """`body` is HTML that was escaped where it had to be."""
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(title=escape(title), body=body)


def write(directory: Path, name: str, *, html: str, markdown: str, data: object) -> list[Path]:
    """`<name>.html` for people, `.md` for a repository, `.json` for programs. → what was written. Raises `OSError`."""
    directory.mkdir(parents=True, exist_ok=True)
    contents = {
        "html": html.encode(),
        "md": markdown.encode(),
        "json": msgspec.json.format(msgspec.json.encode(data), indent=1) + b"\n",
    }
    written = []
    for ending, content in contents.items():
        written.append(directory / f"{name}.{ending}")
        written[-1].write_bytes(content)
    return written


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
