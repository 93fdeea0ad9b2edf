"""How far each partition is: reached by polling, committed, and where it ends. Pure; offsets are "the next one"."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fairgate.streams.records import Where


class Positions:
    def __init__(self) -> None:
        self._reached: dict[Where, int] = {}
        self._committed: dict[Where, int] = {}
        self._ends: dict[Where, int] = {}
        self._high: dict[Where, int] = {}

    def reached(self, positions: Mapping[Where, int]) -> None:
        self._reached.update(positions)

    def committed(self, positions: Mapping[Where, int]) -> None:
        self._committed.update(positions)

    def ended(self, where: Where, offset: int) -> None:
        """Polling found nothing more; `offset` is behind transaction markers, which are no records."""
        self._ends[where] = offset

    def high(self, where: Where, offset: int) -> None:
        """Where the broker says that the partition ends."""
        self._high[where] = offset

    def forget(self, partitions: Iterable[Where]) -> None:
        for where in partitions:
            for offsets in (self._reached, self._committed, self._ends, self._high):
                offsets.pop(where, None)

    def unknown(self, partitions: Iterable[Where]) -> list[Where]:
        """Those whose committed offset nobody told."""
        return [where for where in partitions if where not in self._committed]

    def quiet_ends(self) -> dict[Where, int]:
        """Ends that may be committed: all that was polled is committed, and only markers lie in between."""
        return {
            where: end
            for where, end in self._ends.items()
            if end > self._committed.get(where, -1)
            and self._reached.get(where, 0) <= max(self._committed.get(where, -1), 0)
        }

    def lag(self, partitions: Iterable[Where]) -> dict[Where, int]:
        return {where: max(0, self._high.get(where, 0) - self._committed.get(where, 0)) for where in partitions}
