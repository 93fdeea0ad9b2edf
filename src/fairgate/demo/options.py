"""What one rehearsal is like: what was asked for, and what follows from it."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec

FANS, LISTENERS = 3_000, 300
SECONDS_MIN = 60.0
# A laptop with two cores runs the servers, all of Fairgate and the crowd at once: this many new fans a second it bears.
FANS_PER_S = 100.0
TICKETS_PER_FAN = 5 / 6
# The shop bears nine tenths of what would serve all as they come. So a line forms, and moves.
PACE = 0.9
BURST_S = 0.1


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What the caller decides. None: a fitting value is chosen."""

    fans: int = FANS
    seconds: float | None = None
    capacity: int | None = None
    brokers: int = 1
    listeners: int | None = None
    data_dir: Path | None = None
    port_base: int | None = None
    keep: bool = False
    seed: int = 1998


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """All decided. `rate` in admissions per second; `patience_s` bounds everything, from the first fan on."""

    event_id: str
    fans: int
    listeners: int
    seconds: float
    capacity: int
    rate: float
    burst: int
    patience_s: float
    seed: int

    @property
    def tickets(self) -> int:
        """How many fans get one: every fan wants one in the end."""
        return min(self.fans, self.capacity)

    @property
    def sold_out(self) -> int:
        return self.fans - self.tickets


# After the last ticket could have been sold: room for Kafka being away for half a minute, and for crashes.
PATIENCE_S = 120.0


def plan(options: Options, event_id: str) -> Plan:
    """Pure."""
    seconds = options.seconds or max(SECONDS_MIN, options.fans / FANS_PER_S)
    capacity = options.capacity or max(1, round(options.fans * TICKETS_PER_FAN))
    rate = max(1.0, PACE * min(capacity, options.fans) / seconds)
    return Plan(
        event_id=event_id,
        fans=options.fans,
        listeners=min(options.fans, LISTENERS if options.listeners is None else options.listeners),
        seconds=seconds,
        capacity=capacity,
        rate=round(rate, 1),
        burst=max(1, math.ceil(rate * BURST_S)),
        patience_s=seconds + capacity / rate + PATIENCE_S,
        seed=options.seed,
    )
