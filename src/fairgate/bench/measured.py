"""What a work measures at one side in one round: figures, and curves for who wants to see more than a number."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from fairgate.bench.samples import Latencies, Sample


class Figure(msgspec.Struct, frozen=True):
    """One value of one side in one round."""

    work: str
    name: str
    unit: str
    side: str
    value: float


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """One line of plot `title`: `points` are (x, y). A logarithmic x has no place for 0."""

    work: str
    title: str
    side: str
    x: str
    y: str
    points: list[tuple[float, float]]
    log_x: bool = False


class Measured(msgspec.Struct):
    """What was found. `figures` in the order in which people read them."""

    figures: list[Figure] = []
    curves: list[Curve] = []

    def __iadd__(self, other: Measured) -> Measured:
        self.figures += other.figures
        self.curves += other.curves
        return self


def of_requests(work: str, name: str, side: str, sample: Sample) -> Measured:
    """How many a second, how many were not answered 200, how long they took, and how busy who asked was."""
    found = Measured(
        [
            Figure(work, name, "/s", side, sample.per_s),
            Figure(work, f"{name}, not answered 200", "requests", side, sample.refused + sample.failed),
            Figure(work, f"{name}, driver busy", "% of a core", side, 100 * sample.busy),
        ]
    )
    found += of_latencies(work, name, side, sample.latencies)
    return found


def of_latencies(work: str, name: str, side: str, found: Latencies | None) -> Measured:
    if found is None:
        return Measured()
    figures = [Figure(work, f"{name}, {p}", "ms", side, getattr(found, p)) for p in ("p50", "p99")]
    return Measured(figures, [_percentiles(work, name, side, found.buckets)])


def _percentiles(work: str, name: str, side: str, buckets: Sequence[tuple[float, int]]) -> Curve:
    """One in how many took longer: 10 is p90, 100 is p99. The last of all has no such number."""
    total = buckets[-1][1]
    points = [(total / (total - below), value) for value, below in buckets if below < total]
    return Curve(
        work=work,
        title=f"{name}: percentiles",
        side=side,
        x="one in … took longer",
        y="ms",
        points=[(max(1.0, x), y) for x, y in points],
        log_x=True,
    )
