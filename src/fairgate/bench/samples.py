"""What was measured: latencies of one run, and how several runs of the same are told."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence

import msgspec


class Latencies(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds. `buckets` are (value, how many up to it): enough for a plot of every percentile."""

    p50: float
    p90: float
    p99: float
    p999: float
    max: float
    buckets: list[tuple[float, int]]


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One run of one work. `per_s` counts what was answered 200 only. `busy`: the driver's own share of a core; near 1
    it measures itself.
    """

    ok: int
    refused: int
    failed: int
    seconds: float
    latencies: Latencies | None = None
    busy: float = 0.0

    @property
    def per_s(self) -> float:
        return self.ok / self.seconds if self.seconds > 0 else 0.0


class Spread(msgspec.Struct, frozen=True):
    """Least, middle, most of several runs."""

    least: float
    median: float
    most: float


# Two significant digits at every magnitude: 1 % of the value is finer than any machine repeats.
_STEPS_PER_DECADE = 230


def latencies(seconds: array[float]) -> Latencies | None:
    """None where nothing was answered."""
    if not seconds:
        return None
    ordered = sorted(seconds)

    def at(share: float) -> float:
        return round(1_000 * ordered[max(0, math.ceil(share * len(ordered)) - 1)], 3)

    return Latencies(p50=at(0.5), p90=at(0.9), p99=at(0.99), p999=at(0.999), max=at(1.0), buckets=_buckets(ordered))


def _buckets(ordered: Sequence[float]) -> list[tuple[float, int]]:
    buckets: dict[int, int] = {}
    for value in ordered:
        step = math.ceil(math.log10(max(value, 1e-6)) * _STEPS_PER_DECADE)
        buckets[step] = buckets.get(step, 0) + 1
    total, cumulative = 0, []
    for step in sorted(buckets):
        total += buckets[step]
        cumulative.append((round(1_000 * 10 ** (step / _STEPS_PER_DECADE), 4), total))
    return cumulative


def spread(values: Sequence[float]) -> Spread:
    """Of at least one value. The median is a value that occurred: of an even number the lower of the two."""
    ordered = sorted(values)
    return Spread(ordered[0], ordered[(len(ordered) - 1) // 2], ordered[-1])
