"""Records whose admission SQL does not know yet. They wait a bounded time and hold back only their own commits."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import msgspec

from fairgate.streams.records import Record, Where

# An admission and its outbox row are one commit: only a database that was just failed over may need a moment.
WAIT_S = 2.0
# Asked for again after this, then after twice as long each time: a thousand forged ones must not keep SQL busy.
AGAIN_FIRST_S, AGAIN_MAX_S = 0.05, 0.5
# More than a failover can leave open at once; beyond, forged records must not fill the memory.
PARKED_MAX = 1_000


class Trial(msgspec.Struct, frozen=True):
    """What asking for it has come to: how often in vain, since when (epoch ms), and whether it is asked for again."""

    again: bool
    attempts: int
    first_at_ms: int


class _Waiting(msgspec.Struct):
    record: Record
    until: float
    first_at_ms: int
    attempts: int = 0
    due: float = 0.0
    pause_s: float = AGAIN_FIRST_S


class Parked:
    """`clock` in seconds, monotonic."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._waiting: dict[tuple[Where, int], _Waiting] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def park(self, record: Record) -> Trial:
        """Once more in vain. A record that may not wait (any more) is not here afterwards."""
        key, now = (record.where, record.offset), self._clock()
        waiting = self._waiting.pop(key, None) or _Waiting(record, now + WAIT_S, int(time.time() * 1000))
        waiting.attempts += 1
        again = now < waiting.until and len(self._waiting) < PARKED_MAX
        if again:
            waiting.due = min(now + waiting.pause_s, waiting.until)
            waiting.pause_s = min(2 * waiting.pause_s, AGAIN_MAX_S)
            self._waiting[key] = waiting
        return Trial(again, waiting.attempts, waiting.first_at_ms)

    def settled(self, record: Record) -> None:
        if self._waiting:
            self._waiting.pop((record.where, record.offset), None)

    def due(self) -> list[Record]:
        """Those whose time has come to be asked for again."""
        now = self._clock()
        return [waiting.record for waiting in self._waiting.values() if waiting.due <= now]

    def committable(self, where: Where, reached: int) -> int:
        """Up to where the partition may be committed: never past a record that waits."""
        return min((offset for parked, offset in self._waiting if parked == where), default=reached)

    def keep_only(self, partitions: Iterable[Where]) -> None:
        """The others are somebody else's now."""
        kept = set(partitions)
        self._waiting = {key: waiting for key, waiting in self._waiting.items() if key[0] in kept}
