"""Plots as inline SVG, without a library: lines over time, fault windows shaded, notes as marks. Pure.

Colours are classes, so that the page decides them, light and dark.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import msgspec

from fairgate.chaos.timeline import Note, Window, clock
from fairgate.reports.scale import nice, number

WIDTH, HEIGHT = 880, 150
LEFT, RIGHT, TOP, BOTTOM = 54, 10, 24, 20
Points = Sequence[tuple[float, float | None]]


class Series(msgspec.Struct, frozen=True):
    """`style` is a class of the page: s1 … s4. Where a value is None the line has a gap."""

    name: str
    points: Points
    style: str


class Frame(msgspec.Struct, frozen=True):
    """What all plots of a run share."""

    seconds: float
    faults: Sequence[Window]
    notes: Sequence[Note]


def plot(title: str, series: Sequence[Series], frame: Frame) -> str:
    top = nice(max((value for one in series for _, value in one.points if value is not None), default=1.0))
    parts = [
        f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">',
        *_windows(frame),
        *_grid(top, frame.seconds),
        *(_line(one, top, frame.seconds) for one in series),
        *_notes(frame),
        _legend(title, series),
        "</svg>",
    ]
    return "".join(parts)


def _x(at_s: float, seconds: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * min(1.0, max(0.0, at_s / seconds if seconds else 0.0))


def _y(value: float, top: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * min(1.0, max(0.0, value / top))


def _windows(frame: Frame) -> list[str]:
    found = []
    for count, window in enumerate(frame.faults, 1):
        ended_s = frame.seconds if window.ended_s is None else window.ended_s
        left, right = _x(window.began_s, frame.seconds), _x(ended_s, frame.seconds)
        width = max(1.5, right - left)
        found.append(
            f'<g class="fault"><title>{escape(window.title)}</title>'
            f'<rect x="{left:.1f}" y="{TOP}" width="{width:.1f}" height="{HEIGHT - TOP - BOTTOM}"/>'
            f'<text x="{left + 3:.1f}" y="{TOP + 10}">{count}</text></g>'
        )
    return found


def _grid(top: float, seconds: float) -> list[str]:
    rows = []
    for share in (0.0, 0.5, 1.0):
        y = _y(share * top, top)
        rows.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text class="tick" x="{LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">{number(share * top)}</text>'
        )
    step = _step(seconds)
    marks = [index * step for index in range(int(seconds // step) + 1)] if step else []
    return rows + [
        f'<text class="tick" x="{_x(at, seconds):.1f}" y="{HEIGHT - 5}" text-anchor="middle">{clock(at)}</text>'
        for at in marks
    ]


def _step(seconds: float) -> float:
    """About eight marks."""
    steps = (5, 10, 15, 30, 60, 120, 300, 600, 1_800)
    return next((float(step) for step in steps if seconds / step <= 9), 3_600.0)


def _line(series: Series, top: float, seconds: float) -> str:
    """One path; a gap moves the pen."""
    words, down = [], False
    for at_s, value in series.points:
        if value is not None:
            words.append(f"{'L' if down else 'M'}{_x(at_s, seconds):.1f} {_y(value, top):.1f}")
        down = value is not None
    return f'<path class="{series.style}" d="{"".join(words)}"/>'


def _notes(frame: Frame) -> list[str]:
    return [
        f'<line class="note" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}">'
        f"<title>{escape(note.title)}</title></line>"
        for note in frame.notes
        for x in [_x(note.at_s, frame.seconds)]
    ]


def _legend(title: str, series: Sequence[Series]) -> str:
    """Right of the title, from the right edge to the left."""
    parts, x = [f'<text class="title" x="{LEFT}" y="14">{escape(title)}</text>'], WIDTH - RIGHT
    for one in reversed(series):
        parts.append(f'<text class="name" x="{x}" y="14" text-anchor="end">{escape(one.name)}</text>')
        x -= 7 * len(one.name) + 8
        parts.append(f'<line class="{one.style}" x1="{x - 14}" x2="{x}" y1="10" y2="10"/>')
        x -= 30
    return "".join(parts)
