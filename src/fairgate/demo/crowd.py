"""Who comes when, and how they behave. Pure: the same numbers give the same crowd."""

from __future__ import annotations

import csv
import random
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

from fairgate.crowd.traits import Traits

TRACE = Path(__file__).with_name("worldcup98.csv")
# The first match of the day with its rush (README.md beside this file).
FROM_MINUTE, TO_MINUTE = "14:00", "17:00"

JOIN_TWICE, LEAVE, RECONNECT = 0.05, 0.03, 0.2


def rush(path: Path = TRACE) -> list[int]:
    """Requests per minute of the part of the trace that is rehearsed."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [int(row["requests"]) for row in rows if FROM_MINUTE <= row["minute"].split()[1] < TO_MINUTE]


def arrivals(trace: Sequence[int], fans: int, seconds: float) -> list[float]:
    """When each fan comes, in seconds from the start, ascending: the trace's distribution squeezed into `seconds`.

    The inverse of the cumulated trace at evenly spaced shares; within a minute of the trace all seconds are alike.
    """
    assert trace and sum(trace) > 0, "an empty trace"
    sums = [0, *accumulate(trace)]
    times, minute = [], 0
    for fan in range(fans):
        share = (fan + 0.5) / fans * sums[-1]
        while sums[minute + 1] < share:
            minute += 1
        within = (share - sums[minute]) / trace[minute]
        times.append((minute + within) / len(trace) * seconds)
    return times


def traits(fans: int, listeners: int, seed: int) -> list[Traits]:
    """One for each fan, spread over the whole crowd. Shares are rounded up: even a small crowd has one of each."""
    chance = random.Random(seed)
    listening = _some(chance, range(fans), listeners / fans if fans else 0.0)
    twice = _some(chance, range(fans), JOIN_TWICE)
    leaving = _some(chance, range(fans), LEAVE)
    returning = _some(chance, sorted(listening), RECONNECT)
    return [Traits(fan in listening, fan in twice, fan in leaving, fan in returning) for fan in range(fans)]


def _some(chance: random.Random, of: Sequence[int], share: float) -> set[int]:
    wanted = -int(-len(of) * share // 1)
    return set(chance.sample(of, min(len(of), wanted)))
