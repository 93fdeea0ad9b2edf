"""A line: its states, its settings and its numbers."""

from __future__ import annotations

import enum
import math
from datetime import datetime

import msgspec

# sequence = generation * 2^40 + counter. A score is exact up to 2^53, which leaves 8,192 generations of 10^12 joins.
GENERATION_BITS = 40
GENERATIONS_MAX = (1 << (53 - GENERATION_BITS)) - 1


class LineState(enum.StrEnum):
    """`scheduled → open ⇄ paused → closed`."""

    SCHEDULED = "scheduled"
    OPEN = "open"
    PAUSED = "paused"
    CLOSED = "closed"

    @property
    def lets_in(self) -> bool:
        """Whether somebody new gets a place."""
        return self in (LineState.OPEN, LineState.PAUSED)


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """What SQL says of a line. `version` grows with every change of any line; `generation` with every recovery."""

    event_id: str
    version: int
    generation: int
    shard: int
    state: LineState
    title: str
    rate: float  # admissions per second
    burst: int
    capacity: int | None  # None: unlimited
    hold_s: int | None  # None: a ticket is confirmed at issue
    opens_at: datetime | None
    sold_out: bool  # the operator or the last confirmed ticket said so
    created_at: datetime | None = None
    rebuild: int = 0  # an operator asked to rebuild the line when it had this generation


def first_sequence(generation: int) -> int:
    """No sequence of this generation is smaller."""
    return generation << GENERATION_BITS


def generation_of(sequence: int) -> int:
    return sequence >> GENERATION_BITS


def estimated_wait_s(position: int, line: Line) -> int | None:
    """Seconds until the turn at the line's rate; None where nobody can know (paused, sold out)."""
    if line.state is not LineState.OPEN or line.sold_out:
        return None
    return math.ceil(position / line.rate)
