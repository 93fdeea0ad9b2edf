"""Plots as inline SVG: bars of medians with the spread of the rounds, and curves over any axis. Pure.

Colours are classes of the page, s1 for Fairgate and s2 for the peer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

import msgspec

from fairgate.bench.measured import Curve
from fairgate.bench.rows import OURS, Row
from fairgate.bench.samples import Spread
from fairgate.reports.scale import nice, number

WIDTH, HEIGHT = 880, 220
LEFT, RIGHT, TOP, BOTTOM = 60, 14, 26, 34
BAR, GAP = 15, 9
# Enough for any curve on a screen, and little enough for a page.
POINTS = 400


def style(side: str) -> str:
    return "s1" if side == OURS else "s2"


# ---- curves


def curves(title: str, drawn: Sequence[Curve]) -> str:
    """Curves of one plot, of all rounds: each round is a line of its own."""
    shown = [_thinned(curve) for curve in drawn if curve.points]
    if not shown:
        return ""
    xs = [x for curve in shown for x, _ in curve.points]
    top = nice(max(y for curve in shown for _, y in curve.points))
    scale = _Scale(min(xs), max(xs), log=shown[0].log_x)
    parts = [
        f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">',
        *_grid(top, scale),
        *(_path(curve, top, scale) for curve in shown),
        _words(title, shown),
        "</svg>",
    ]
    return "".join(parts)


class _Scale:
    """From a value to a place on the x axis."""

    def __init__(self, least: float, most: float, *, log: bool) -> None:
        self._log = log
        self._from, self._to = self._at(least), self._at(most)
        self.least, self.most = least, most

    def __call__(self, value: float) -> float:
        span = self._to - self._from
        share = (self._at(value) - self._from) / span if span else 0.0
        return LEFT + (WIDTH - LEFT - RIGHT) * share

    def ticks(self) -> list[float]:
        if self._log:
            return [10.0**power for power in range(math.ceil(self._from), math.floor(self._to) + 1)]
        step = nice(max(self.most, 1e-9) / 8)
        return [index * step for index in range(int(self.most / step) + 1)]

    def _at(self, value: float) -> float:
        return math.log10(max(value, 1e-9)) if self._log else value


def _thinned(curve: Curve) -> Curve:
    step = max(1, len(curve.points) // POINTS)
    return msgspec.structs.replace(curve, points=[*curve.points[:-1:step], *curve.points[-1:]])


def _y(value: float, top: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * min(1.0, max(0.0, value / top))


def _grid(top: float, scale: _Scale) -> list[str]:
    rows = [
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{_y(share * top, top):.1f}"'
        f' y2="{_y(share * top, top):.1f}"/><text class="tick" x="{LEFT - 6}" y="{_y(share * top, top) + 3.5:.1f}"'
        f' text-anchor="end">{number(share * top)}</text>'
        for share in (0.0, 0.25, 0.5, 0.75, 1.0)
    ]
    return rows + [
        f'<text class="tick" x="{scale(at):.1f}" y="{HEIGHT - BOTTOM + 15}" text-anchor="middle">{number(at)}</text>'
        for at in scale.ticks()
    ]


def _path(curve: Curve, top: float, scale: _Scale) -> str:
    places = " L".join(f"{scale(x):.1f} {_y(y, top):.1f}" for x, y in curve.points)
    return f'<path class="{style(curve.side)}" d="M{places}"/>'


def _words(title: str, shown: Sequence[Curve]) -> str:
    """Title, axes, and which colour is whose."""
    first = shown[0]
    parts = [
        f'<text class="title" x="{LEFT}" y="15">{escape(title)} ({escape(first.y)})</text>',
        f'<text class="tick" x="{WIDTH - RIGHT}" y="{HEIGHT - 4}" text-anchor="end">{escape(first.x)}</text>',
    ]
    x = WIDTH - RIGHT
    for side in reversed(list(dict.fromkeys(curve.side for curve in shown))):
        parts.append(f'<text class="name" x="{x}" y="15" text-anchor="end">{escape(side)}</text>')
        x -= 7 * len(side) + 8
        parts.append(f'<line class="{style(side)}" x1="{x - 14}" x2="{x}" y1="11" y2="11"/>')
        x -= 30
    return "".join(parts)


# ---- bars


def bars(title: str, rows: Sequence[Row]) -> str:
    """One bar for each row and side: the median, and a line from the least to the most of the rounds."""
    if not rows:
        return ""
    top = nice(max(spread.most for row in rows for spread in row.sides.values()))
    parts, y = [], TOP
    for row in rows:
        parts.append(f'<text class="tick" x="{LEFT + 232}" y="{y + 11}" text-anchor="end">{escape(row.name)}</text>')
        for side, spread in row.sides.items():
            parts.append(_bar(side, spread, top, y))
            y += BAR
        y += GAP
    head = f'<svg class="plot" viewBox="0 0 {WIDTH} {y + 4}" role="img" aria-label="{escape(title)}">'
    name = f'<text class="title" x="{LEFT}" y="15">{escape(title)} ({escape(rows[0].unit)})</text>'
    return "".join([head, name, *parts, "</svg>"])


def _bar(side: str, spread: Spread, top: float, y: float) -> str:
    left, whole = LEFT + 240, WIDTH - RIGHT - LEFT - 240 - 90

    def at(value: float) -> float:
        return left + whole * min(1.0, max(0.0, value / top))

    middle = y + BAR / 2
    return (
        f'<line class="{style(side)} bar" x1="{left}" x2="{at(spread.median):.1f}" y1="{middle}" y2="{middle}"/>'
        f'<line class="note" x1="{at(spread.least):.1f}" x2="{at(spread.most):.1f}" y1="{middle}" y2="{middle}"/>'
        f'<text class="name" x="{at(spread.most) + 6:.1f}" y="{y + 11}">{spread.median:,.4g}</text>'
    )
