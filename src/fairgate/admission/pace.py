"""How many may pass now, and which bound decided (F8). Pure: numbers in, a value out.

A pipeline that falls behind slows the line smoothly: each `Ramp` says which share of the line's rate its figure leaves,
the least share counts, and rate and burst are that share of what they are. It lets go by the same way back.
"""

from __future__ import annotations

import enum

import msgspec

from fairgate.domain.line import LineState


class Bound(enum.StrEnum):
    """What decided. Always visible: metric, console, `queue:state`."""

    NONE = "none"  # all who wait pass
    RATE = "rate"
    CAPACITY = "capacity"
    PIPELINE = "pipeline"  # too many admissions are still on their way to a ticket
    LAG = "lag"  # the consumers are behind, in messages or in seconds
    OUTBOX = "outbox"  # Kafka does not take what is written
    OPERATOR = "operator"  # paused, scheduled
    BATCH = "batch"

    @property
    def slows(self) -> bool:
        """Whether it is the pipeline that keeps who waits: it ends by itself."""
        return self in (Bound.PIPELINE, Bound.LAG, Bound.OUTBOX)


class Pace(msgspec.Struct, frozen=True):
    places: int
    bound: Bound


class Ramp(msgspec.Struct, frozen=True):
    """The whole below `slow_from`, nothing from `hold_from`, linear between; a step where they are not in order."""

    slow_from: float
    hold_from: float

    def share(self, value: float) -> float:
        if value >= self.hold_from:
            return 0.0
        if value <= self.slow_from:
            return 1.0
        return (self.hold_from - value) / (self.hold_from - self.slow_from)


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """How the pipeline behind the line feels: messages unread, and ages in seconds. 0 where nobody knows."""

    unsettled: int = 0
    lag: int = 0
    lag_s: float = 0.0
    outbox_age_s: float = 0.0


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """How far the pipeline may fall behind."""

    unsettled_max: int
    lag: Ramp
    lag_s: Ramp
    outbox_age_s: Ramp

    def slowed(self, load: Load) -> tuple[float, Bound]:
        """The share of its rate that a line may use, and who says so; `RATE` where it is the whole."""
        shares = [
            (1.0, Bound.RATE),
            (self.outbox_age_s.share(load.outbox_age_s), Bound.OUTBOX),
            (self.lag.share(load.lag), Bound.LAG),
            (self.lag_s.share(load.lag_s), Bound.LAG),
        ]
        return min(shares, key=lambda one: one[0])


def places_to_open(
    *,
    state: LineState,
    waiting: int,
    remaining: int | None,
    tokens: float,
    load: Load,
    bounds: Bounds,
    batch_max: int,
) -> Pace:
    """The least of all bounds. `remaining` None is unlimited; `tokens` is the bucket, refilled at the slowed rate."""
    if state is not LineState.OPEN:
        return Pace(0, Bound.OPERATOR)
    share, slowing = bounds.slowed(load)
    if share <= 0:
        return Pace(0, slowing)
    offers = [
        (waiting, Bound.NONE),
        (remaining if remaining is not None else waiting, Bound.CAPACITY),
        (max(0, int(tokens)), slowing),
        (max(0, bounds.unsettled_max - load.unsettled), Bound.PIPELINE),
        (batch_max, Bound.BATCH),
    ]
    places, bound = min(offers, key=lambda offer: offer[0])
    return Pace(max(0, places), bound)


def refilled(tokens: float, elapsed_s: float, *, rate: float, burst: int, share: float) -> float:
    """The bucket later on. It holds a whole token however small the share: slow is not stopped."""
    return min(max(1.0, burst * share), tokens + rate * share * elapsed_s)


def next_token_s(tokens: float, rate: float) -> float:
    """Seconds until the bucket holds a whole token."""
    return max(0.0, (1.0 - tokens) / rate)
