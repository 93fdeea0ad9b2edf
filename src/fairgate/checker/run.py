"""One run, as it comes before the judge."""

from __future__ import annotations

from collections import defaultdict
from functools import cached_property

import msgspec

from fairgate.checker.books import Books
from fairgate.checker.history import History


class Pace(msgspec.Struct, frozen=True):
    """Admissions per second, and how many at once."""

    rate: float
    burst: int


class Recovery(msgspec.Struct, frozen=True):
    """An announced recovery of a line after lost data, in the crowd's seconds: places may move (I6)."""

    event_id: str
    began_at: float
    ended_at: float


class Run(msgspec.Struct, kw_only=True, dict=True):
    """`paces` is the loosest that an event had, where it changed while it ran (else SQL's counts). `recoveries` were
    announced. `healed_at`: when the last fault ended, in epoch seconds; None: there was none. `bad` names records that
    were made to be dead letters, as `topic-partition@offset`, and `acts` the (event, user) whom the operator gave a
    ticket.
    """

    histories: list[History]
    books: Books
    paces: dict[str, Pace] = {}
    recoveries: list[Recovery] = []
    healed_at: float | None = None
    bad: frozenset[str] = frozenset()
    acts: frozenset[tuple[str, str]] = frozenset()

    @cached_property
    def crowds(self) -> dict[str, list[History]]:
        """Histories by event."""
        crowds: dict[str, list[History]] = defaultdict(list)
        for fan in self.histories:
            crowds[fan.event_id].append(fan)
        return crowds

    def recovered(self, event_id: str) -> bool:
        return any(recovery.event_id == event_id for recovery in self.recoveries)
