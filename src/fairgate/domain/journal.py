"""What a line's journal says, whatever order it is read in and however often. Pure.

A user stands in a line at most once, and whoever comes again gets a higher sequence; a place that comes back by a
token is only given to who has no end at or above it. So of each user the highest place counts, unless an end at or
above it is known. An *era* begins with a snapshot of all who wait; once one is complete, joins of earlier eras say
nothing more (a leave of theirs may be missing), while ends are true for ever.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from fairgate.domain.line import generation_of
from fairgate.domain.messages import QueueJournal

Places = dict[str, int]  # user id → sequence


class Ledger:
    """One line's journal, as far as it was read."""

    def __init__(self) -> None:
        self.left: Places = {}
        self.last_era = 0
        self._joined: dict[int, Places] = {}  # by era
        self._snapshots: dict[str, _Snapshot] = {}
        self._highest: dict[int, int] = {}  # by generation

    def read(self, message: QueueJournal) -> None:
        """Take one record in."""
        self.last_era = max(self.last_era, message.era)
        match message.kind:
            case "joined":
                self._note(self._joined.setdefault(message.era, {}), message.users, message.sequences)
            case "left":
                self._note(self.left, message.users, message.sequences)
            case "snapshot":
                self._read_snapshot(message)

    def waiting(self, present: Mapping[str, int], ended: Mapping[str, int]) -> Places:
        """Who waits, with the sequence: what the journal says and what the server still has, without who is gone.

        `ended` has the highest sequence at which a user was admitted or sent away, as SQL knows it.
        """
        base = max((snapshot.era for snapshot in self._snapshots.values() if snapshot.complete), default=-1)
        places: Places = dict(present)
        for snapshot in self._snapshots.values():
            if snapshot.era >= base:
                _raise(places, snapshot.places.items())
        for era, joined in self._joined.items():
            if era >= base:
                _raise(places, joined.items())
        for gone in (self.left, ended):
            for user in gone.keys() & places.keys():
                if gone[user] >= places[user]:
                    del places[user]
        return places

    def marks(self, present: Mapping[str, int]) -> dict[int, int]:
        """Of each generation the highest sequence that was found: what lies above it was lost, or is a later one's."""
        highest = dict(self._highest)
        for snapshot in self._snapshots.values():
            if snapshot.complete:
                _mark(highest, snapshot.watermark)
        for sequence in present.values():
            _mark(highest, sequence)
        return highest

    def _note(self, places: Places, users: list[str], sequences: list[int]) -> None:
        pairs = list(zip(users, sequences, strict=True))
        _raise(places, pairs)
        for generation in {generation_of(sequence) for sequence in sequences}:
            highest = max(sequence for sequence in sequences if generation_of(sequence) == generation)
            self._highest[generation] = max(self._highest.get(generation, 0), highest)

    def _read_snapshot(self, message: QueueJournal) -> None:
        name = message.snapshot or ""
        snapshot = self._snapshots.setdefault(name, _Snapshot(era=message.era))
        _raise(snapshot.places, zip(message.users, message.sequences, strict=True))
        snapshot.seen.add(message.part)
        if message.parts is not None:
            snapshot.parts, snapshot.watermark = message.parts, message.watermark or 0


class _Snapshot(msgspec.Struct):
    era: int
    places: Places = {}
    seen: set[int] = set()
    parts: int | None = None
    watermark: int = 0

    @property
    def complete(self) -> bool:
        return self.parts is not None and len(self.seen) >= self.parts


def _raise(places: Places, pairs: Iterable[tuple[str, int]]) -> None:
    for user, sequence in pairs:
        if sequence > places.get(user, 0):
            places[user] = sequence


def _mark(highest: dict[int, int], sequence: int) -> None:
    generation = generation_of(sequence)
    highest[generation] = max(highest.get(generation, 0), sequence)
