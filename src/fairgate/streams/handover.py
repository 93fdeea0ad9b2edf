"""The bounded hand-over between the thread that polls and the tasks that work; safe to use from both."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Collection

from fairgate.streams.records import Batch, Where

# Forged records may be a megabyte each: neither a thousand of them in memory, nor more dead letters in one transaction
# than it can send in its time. A batch of 10,000 orders has 3 MB.
BATCH_BYTES, WAITING_BYTES = 16 * 1024 * 1024, 64 * 1024 * 1024


class HandOver:
    """Batches that wait, and lots that are in somebody's hands. The bound is kept by who puts: see `full`."""

    def __init__(self, high: int, low: int) -> None:
        self._high, self._low = high, low
        self._lock = threading.Lock()
        self._waiting: deque[Batch] = deque()
        self._lots = itertools.count(1)
        self._in_hand: dict[int, Collection[Where]] = {}
        self.records = self.bytes = 0

    def full(self, was_full: bool) -> bool:
        """With a distance between full and not full any more, so that it does not flicker."""
        if self.bytes >= (WAITING_BYTES // 2 if was_full else WAITING_BYTES):
            return True
        return self.records >= (self._low if was_full else self._high)

    def put(self, batch: Batch) -> None:
        with self._lock:
            self._waiting.append(batch)
            self.records += len(batch)
            self.bytes += batch.size_bytes

    def take(self, max_records: int) -> Batch | None:
        """As many waiting batches as fit, joined, without what is not ours any more. It is in hand until `done`."""
        with self._lock:
            taken: Batch | None = None
            while self._waiting and (taken is None or _fit(taken, self._waiting[0], max_records)):
                part = self._next(max_records).kept()
                if part.records:
                    taken = part if taken is None else taken.joined(part)
            if taken is not None:
                taken.lot = next(self._lots)
                self._in_hand[taken.lot] = taken.claims.keys()
            return taken

    def _next(self, max_records: int) -> Batch:
        batch = self._waiting.popleft()
        self.records -= len(batch)
        self.bytes -= batch.size_bytes
        count = _first_fitting(batch, max_records)
        if len(batch) > count:
            batch, rest = batch.split(count)
            self._waiting.appendleft(rest)
            self.records += len(rest)
            self.bytes += rest.size_bytes
        return batch

    def done(self, batch: Batch) -> None:
        with self._lock:
            self._in_hand.pop(batch.lot, None)

    def take_up(self, batch: Batch) -> None:
        """Work on it goes on, after `done` was said too early."""
        with self._lock:
            self._in_hand[batch.lot] = batch.claims.keys()

    def in_hand(self, partitions: Collection[Where]) -> bool:
        """Whether somebody works on records of these."""
        with self._lock:
            return any(not set(partitions).isdisjoint(claims) for claims in self._in_hand.values())

    def clear(self) -> None:
        """What waits is dropped; what is in hand is not."""
        with self._lock:
            self._waiting.clear()
            self.records = self.bytes = 0


def _fit(taken: Batch, more: Batch, max_records: int) -> bool:
    return len(taken) + len(more) <= max_records and taken.size_bytes + more.size_bytes <= BATCH_BYTES


def _first_fitting(batch: Batch, max_records: int) -> int:
    """How many of its first records make a batch; at least one, however large."""
    if batch.size_bytes <= BATCH_BYTES:
        return max_records
    ends = itertools.accumulate(record.size_bytes for record in batch.records)
    fitting = sum(1 for _ in itertools.takewhile(lambda end: end <= BATCH_BYTES, ends))
    return min(max_records, max(1, fitting))
