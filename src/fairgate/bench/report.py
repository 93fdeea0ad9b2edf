"""What a run of the bench leaves: `bench.html` for people, `bench.md` for a repository, `bench.json` for programs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from itertools import groupby
from pathlib import Path

import msgspec

from fairgate.bench.measured import Curve, Figure
from fairgate.bench.plot import bars, curves
from fairgate.bench.rows import Row, rows
from fairgate.bench.samples import Spread
from fairgate.bench.thresholds import Judged, judge
from fairgate.reports import document
from fairgate.reports.document import facts_table, markdown_table
from fairgate.reports.machine import Machine

# Rows of one unit are drawn beside each other where people compare them.
DRAWN = ("/s", "µs", "MiB", "% of a core")


class Report(msgspec.Struct, kw_only=True):
    """`setting` says what the machine could and could not do, in words."""

    machine: Machine
    command: str
    setting: list[str]
    figures: list[Figure]
    curves: list[Curve]

    @property
    def rows(self) -> list[Row]:
        return rows(self.figures)

    @property
    def judged(self) -> list[Judged]:
        return judge(self.rows)

    @property
    def kept(self) -> bool:
        return all(one.kept for one in self.judged)

    def plain(self) -> dict[str, object]:
        """For `--json`, with the figures of every round."""
        return {
            "machine": msgspec.to_builtins(self.machine),
            "command": self.command,
            "setting": self.setting,
            "rows": msgspec.to_builtins(self.rows),
            "thresholds": [{**msgspec.to_builtins(one), "kept": one.kept} for one in self.judged],
            "figures": msgspec.to_builtins(self.figures),
        }


def write(report: Report, directory: Path) -> list[Path]:
    """→ what was written. Raises `OSError`."""
    return document.write(directory, "bench", html=page(report), markdown=markdown(report), data=report.plain())


# ---- Markdown


def markdown(report: Report) -> str:
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Report) -> Iterable[str]:
    yield f"# Fairgate, measured: `{report.command}`"
    yield from ("", "Medians of all rounds, least and most in brackets. Plots are in the page beside this file.")
    for work, found in _by_work(report.rows):
        yield from ("", f"## {work}", "")
        yield from markdown_table(_columns(found), _cells(found))
    if report.judged:
        yield from ("", "## Thresholds", "", *(f"- {one.text}" for one in report.judged))
    yield from ("", "## Where it ran", "")
    yield from markdown_table(("what", "is"), [*report.machine.rows, *(("setting", one) for one in report.setting)])


def _by_work(found: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    return [(work, list(group)) for work, group in groupby(found, key=lambda row: row.work)]


def _columns(found: Sequence[Row]) -> list[str]:
    sides = _sides(found)
    return ["figure", "unit", *sides, *(["ratio"] if len(sides) > 1 else [])]


def _sides(found: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(side for row in found for side in row.sides))


def _cells(found: Sequence[Row]) -> Iterable[list[str]]:
    sides = _sides(found)
    for row in found:
        ratio = [_spread(row.ratio)] if len(sides) > 1 else []
        yield [row.name, row.unit, *(_spread(row.sides.get(side)) for side in sides), *ratio]


def _spread(found: Spread | None) -> str:
    if found is None:
        return "–"
    if found.least == found.most:
        return _short(found.median)
    return f"{_short(found.median)} ({_short(found.least)} – {_short(found.most)})"


def _short(value: float) -> str:
    """Three digits say all that a machine repeats."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


# ---- the page


def page(report: Report) -> str:
    kept = sum(one.kept for one in report.judged)
    title = f"Fairgate, measured: {kept} of {len(report.judged)} thresholds kept"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="lead">{escape(report.command)} · {escape(report.machine.began)} · medians of all rounds, least and'
        " most in brackets</p>",
        _thresholds(report.judged),
        *(_section(work, found, report.curves) for work, found in _by_work(report.rows)),
        f"<section><h2>Where it ran</h2>"
        f"{facts_table([*report.machine.rows, *(('setting', one) for one in report.setting)])}</section>",
        "<footer>Written by <code>fairgate bench</code>.</footer>",
    ]
    return document.document(title, "\n".join(parts))


def _thresholds(judged: Sequence[Judged]) -> str:
    items = "".join(f'<li class="{"held" if one.kept else "finding"}">{escape(one.text)}</li>' for one in judged)
    return f'<section><h2>Thresholds</h2><ul class="small">{items}</ul></section>' if items else ""


def _section(work: str, found: Sequence[Row], drawn: Sequence[Curve]) -> str:
    titles = list(dict.fromkeys(curve.title for curve in drawn if curve.work == work))
    plots = [bars(work, [row for row in found if row.unit == unit]) for unit in DRAWN]
    plots += [
        curves(title, [curve for curve in drawn if (curve.work, curve.title) == (work, title)]) for title in titles
    ]
    return f"<section><h2>{escape(work)}</h2>{_table(found)}{''.join(plots)}</section>"


def _table(found: Sequence[Row]) -> str:
    head = "".join(f"<th{_right(index)}>{escape(name)}</th>" for index, name in enumerate(_columns(found)))
    body = "".join(
        "<tr>" + "".join(f"<td{_right(index)}>{escape(cell)}</td>" for index, cell in enumerate(cells)) + "</tr>"
        for cells in _cells(found)
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _right(index: int) -> str:
    return ' class="n"' if index > 1 else ""
