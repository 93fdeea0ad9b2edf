"""What a bench run must show, and whether it did. Pure.

A threshold compares medians: a row of Fairgate's with the peer's of the same rounds, with another row of its own, or
with a plain number. What was not measured in a run is not judged.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from fairgate.bench.rows import OURS, Row


class Threshold(msgspec.Struct, frozen=True, kw_only=True):
    """`to`: 'peer' (the ratio of each round), 'value' (the number itself), or the name of another row."""

    row: str
    to: str = "peer"
    at_least: float | None = None
    at_most: float | None = None


class Judged(msgspec.Struct, frozen=True):
    threshold: Threshold
    value: float

    @property
    def kept(self) -> bool:
        least, most = self.threshold.at_least, self.threshold.at_most
        return (least is None or self.value >= least) and (most is None or self.value <= most)

    @property
    def text(self) -> str:
        """One line for people."""
        threshold = self.threshold
        bound = f"≥ {threshold.at_least:g}" if threshold.at_least is not None else f"≤ {threshold.at_most:g}"
        of = {"peer": "× the peer's", "value": ""}.get(threshold.to, f"× {threshold.to}")
        return f"{'✓' if self.kept else '✗'} {threshold.row}: {self.value:.2f} {of}".rstrip() + f" ({bound})"


THRESHOLDS: Sequence[Threshold] = (
    *(
        threshold
        for work in ("joins", "positions")
        for connections in (64, 512)
        for name in (f"{work}, {connections} connections",)
        for threshold in (
            Threshold(row=name, at_least=1.0),
            Threshold(row=f"{name}, not answered 200", to="value", at_most=0),
        )
    ),
    *(Threshold(row=f"joins, {connections} connections, p99", at_most=1.25) for connections in (64, 512)),
    Threshold(row="guest sessions", to="joins, 64 connections", at_least=0.8),
    Threshold(row="tickets", at_least=1.25),
    Threshold(row="drained wrongly", to="value", at_most=0),
    Threshold(row="join answered to told, p50", at_most=6.0),
    Threshold(row="join answered to told, p99", at_most=4.0),
    Threshold(row="untold", to="value", at_most=0),
    Threshold(row="told twice", to="value", at_most=0),
    Threshold(row="age of the place, next 100, most", to="value", at_most=2.0),
    Threshold(row="age of the place, all, most", to="value", at_most=15.0),
    Threshold(row="joins, longest to shortest line", to="value", at_least=0.85),
    Threshold(row="memory, a waiter", to="value", at_most=150),
    Threshold(row="memory, a waiter with a session", to="value", at_most=350),
    Threshold(row="joins, many lines to one", to="value", at_least=0.6),
    Threshold(row="off its rate, most", to="value", at_most=2.0),
    Threshold(row="admissions, the least of a line", to="value", at_least=100),
    Threshold(row="rebuild of a wiped line", to="value", at_most=30.0),
    Threshold(row="places lost", to="value", at_most=0),
    Threshold(row="start of everything, one broker", to="value", at_most=15.0),
    Threshold(row="import fairgate", to="value", at_most=100.0),
)


def judge(rows: Sequence[Row], thresholds: Sequence[Threshold] = THRESHOLDS) -> list[Judged]:
    """Those that this run can answer, in their order."""
    found = {row.name: row for row in rows}
    values = ((threshold, _value(threshold, found)) for threshold in thresholds)
    return [Judged(threshold, value) for threshold, value in values if value is not None]


def _value(threshold: Threshold, rows: dict[str, Row]) -> float | None:
    row = rows.get(threshold.row)
    if row is None or OURS not in row.sides:
        return None
    if threshold.to == "peer":
        return row.ratio.median if row.ratio is not None else None
    ours = row.sides[OURS].median
    if threshold.to == "value":
        return ours
    other = rows.get(threshold.to)
    return ours / other.sides[OURS].median if other is not None and other.sides[OURS].median else None
