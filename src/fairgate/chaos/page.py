"""The report as one page that needs nothing else: no network, no script. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from fairgate.chaos.panels import panels
from fairgate.chaos.results import Environment, Report, Result
from fairgate.chaos.timeline import clock
from fairgate.chaos.words import COLUMNS, NOT_TESTED, headline, lead, row, tiles
from fairgate.reports.document import document, facts_table

MARKS = {"held": "held", "broken": "broken", "not run": "notrun"}


def page(report: Report) -> str:
    body = "\n".join([_top(report), *map(_section, report.results), _end(report.environment)])
    return document(headline(report), body)


def _top(report: Report) -> str:
    cards = "".join(
        f'<div class="tile"><b>{escape(value)}</b><span>{name}</span></div>' for name, value in tiles(report)
    )
    return (
        f'<h1>{escape(headline(report))}</h1><p class="lead">{escape(lead(report))}</p><div class="tiles">{cards}</div>'
        + _table(report.results)
    )


def _table(results: Sequence[Result]) -> str:
    head = "".join(f"<th{_right(index)}>{name}</th>" for index, name in enumerate(COLUMNS))
    rows = "".join(f"<tr>{_cells(result)}</tr>" for result in results)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _cells(result: Result) -> str:
    name, outcome, *figures = row(result)
    parts = [f'<td><a href="#{result.risk.lower()}">{escape(name)}</a></td>']
    parts += [f'<td class="{MARKS[outcome]}"><b>{outcome}</b></td>']
    return "".join([*parts, *(f'<td class="n">{escape(figure)}</td>' for figure in figures)])


def _right(index: int) -> str:
    return ' class="n"' if index > 1 else ""


def _section(result: Result) -> str:
    """One scenario."""
    parts = [
        f'<section id="{result.risk.lower()}"><div class="head"><h2>{result.risk} · {escape(result.title)}</h2>',
        f'<span class="badge {MARKS[result.outcome]}">{result.outcome}</span></div>',
        f'<p class="about">{escape(result.about)}</p>',
        _list("It was not run", [result.not_run] if result.not_run else []),
        _list("Trouble", result.trouble),
        *panels(result),
        _list(
            "Faults",
            (f"{clock(fault.began_s)} – {_end_of(fault.ended_s)} {fault.title}" for fault in result.faults),
            "ol",
        ),
        _list("Notes", (f"{clock(note.at_s)} {note.title}" for note in result.notes)),
        _list("Bounds", (bound.text for bound in result.bounds)),
        _promises(result),
        "</section>",
    ]
    return "".join(parts)


def _end_of(ended_s: float | None) -> str:
    return "…" if ended_s is None else clock(ended_s)


def _promises(result: Result) -> str:
    """Each with its first findings below it."""
    items = []
    for line in result.verdict.lines if result.verdict is not None else []:
        text = f"{'✓' if line.kept else f'✗ {line.wrong} ×'} {line.invariant} {line.promise}"
        items += [f"<li>{escape(text)}</li>"]
        items += [f'<li class="finding">{escape(example)}</li>' for example in line.examples]
    return f'<h3>Promises</h3><ul class="small">{"".join(items)}</ul>' if items else ""


def _list(title: str, items: Iterable[str], kind: str = "ul") -> str:
    found = "".join(f"<li>{escape(item)}</li>" for item in items)
    return f'<h3>{title}</h3><{kind} class="small">{found}</{kind}>' if found else ""


def _end(environment: Environment) -> str:
    missing = "".join(f"<li>{escape(one)}</li>" for one in NOT_TESTED)
    return (
        f"<section><h2>Where it ran</h2>{facts_table(environment.rows)}</section>"
        f'<section><h2>What this does not show</h2><ul class="small">{missing}</ul></section>'
        "<footer>Written by <code>fairgate chaos</code>. How to run and to read it: docs/chaos.md.</footer>"
    )
