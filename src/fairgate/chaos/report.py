"""The report in a directory: `chaos.html` for people, `chaos.md` for a repository, `chaos.json` for programs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from fairgate.chaos.page import page
from fairgate.chaos.results import Report, Result
from fairgate.chaos.timeline import clock
from fairgate.chaos.words import COLUMNS, NOT_TESTED, headline, lead, row
from fairgate.reports import document
from fairgate.reports.document import markdown_table


def write(report: Report, directory: Path, name: str = "chaos") -> list[Path]:
    """→ what was written. Raises `OSError`."""
    return document.write(directory, name, html=page(report), markdown=markdown(report), data=report.plain())


def markdown(report: Report) -> str:
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Report) -> Iterable[str]:
    yield f"# {headline(report)}"
    yield from ("", lead(report) + ". Plots are in the page beside this file.", "")
    yield from markdown_table(COLUMNS, [row(result) for result in report.results])
    yield from ("", "The longest stall is of tickets; raw duplicates are repeats in the log that did no harm.")
    for result in report.results:
        yield from _scenario(result)
    yield from ("", "## Where it ran", "")
    yield from markdown_table(("what", "is"), report.environment.rows)
    yield from ("", "## What this does not show", "")
    yield from (f"- {one}" for one in NOT_TESTED)


def _scenario(result: Result) -> Iterable[str]:
    yield from ("", f"## {result.risk} {result.title}: {result.outcome}", "", result.about, "")
    yield from (f"- not run: {why}" for why in [result.not_run] if why)
    yield from (f"- ✗ {trouble}" for trouble in result.trouble)
    yield from (f"- {clock(fault.began_s)} fault: {fault.title}" for fault in result.faults)
    yield from (f"- {clock(note.at_s)} {note.title}" for note in result.notes)
    yield from (f"- {bound.text}" for bound in result.bounds)
    for line in result.broken_lines:
        yield f"- ✗ {line.invariant} {line.name}: {line.wrong}"
        yield from (f"  - {example}" for example in line.examples)
