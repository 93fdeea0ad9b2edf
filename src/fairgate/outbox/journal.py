"""Moves the lines' journals from Valkey to topic `queue-journal`, and writes snapshots where an era begins.

    {K}:journal ──oldest entries──▶ produce (acks=all) ──all acknowledged──▶ say "journaled up to here", forget

One process holds the shard, but nothing depends on it: what is in the topic means the same in any order and any number
of times (`domain/journal.py`). Entries leave Valkey only when Kafka has them, and only if the server is still the one
that they were read from. With Kafka away for long the journal reaches its bound, is dropped and marked; the first
record that Kafka takes then ends the gap, and the line is written as a snapshot.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Awaitable, Iterable, Iterator, Sequence
from typing import TypeVar

import msgspec

from fairgate import telemetry
from fairgate.domain.line import Line
from fairgate.domain.messages import QueueJournal, cloud_event_headers
from fairgate.errors import StaleGeneration
from fairgate.failpoints import failpoint
from fairgate.lifecycle import Service
from fairgate.stores.journal import KINDS, Entry, JournalStore, Reached, Taken
from fairgate.stores.leases import Shards
from fairgate.stores.lines import LineBook
from fairgate.stores.stirred import said_stirred
from fairgate.streams.producer import Headers
from fairgate.streams.publisher import Publisher

T = TypeVar("T")

# The net under the notice of an entry in an empty journal.
SWEEP_S = 2.0
# Rounds begin this far apart: a rush is worth one request to the brokers, not ten small ones that each copies twice.
# After a quiet moment nobody waits for it.
ROUND_S = 0.1
# And the further, the more lines a round had: of a thousand, each has several joins to take then, not one. In between
# go those lines that somebody waits for.
LINE_S, ROUND_MAX_S = 0.002, 2.0
# Where joins are answered when Kafka has them, however many lines there are.
AWAITED_ROUND_S = 0.025
# A line that this process knows to be older or newer than the server does: the next notice of it may be far away.
STALE_S = 0.1

# The topic keeps seven days; a line that is older is written anew before its first records go.
SNAPSHOT_EVERY_S = 2 * 86_400

# 5,000 users are at most half a megabyte: a broker takes one by default.
USERS_MAX = 5_000


class Journal(Service):
    """`joins_wait`: joins are answered when Kafka has them. Signals: `journaled` (entries), `snapshots`, `gaps`."""

    name = "journal"

    def __init__(
        self,
        store: JournalStore,
        book: LineBook,
        shards: Shards,
        publisher: Publisher,
        topic: str,
        *,
        joins_wait: bool = False,
    ) -> None:
        super().__init__()
        self._store, self._book, self._shards = store, book, shards
        self._publisher, self._topic = publisher, topic
        self._joins_wait, self._apart_s = joins_wait, 0.0
        self._stirred: set[str] = set()
        self._awaited: set[str] = set()  # of these, those that somebody waits for
        # What Kafka has and Valkey is still to forget: with the next round, one call for both.
        self._reached: dict[str, Reached] = {}
        self._swept_at = self._round_at = self._between_at = float("-inf")

    def heard(self, message: str) -> None:
        """Some lines' journals have new entries."""
        for event_id, awaited in said_stirred(message):
            self._stirred.add(event_id)
            if awaited:
                self._awaited.add(event_id)
        self.wake.set()

    def sweep_soon(self) -> None:
        """Notices may have been lost."""
        self._swept_at = float("-inf")
        self.wake.set()

    async def run_once(self) -> bool:
        await self._sweep()
        lines = await self._next_round()
        try:
            more, stale = await self._move(lines)
        except Exception:
            self._stirred |= {line.event_id for line in lines}
            raise
        self._stirred |= more | stale
        self.idle_s = STALE_S if stale else SWEEP_S
        return bool(self._stirred - stale)

    async def teardown(self) -> None:
        await self._publisher.close()

    # ---- which lines

    async def _next_round(self) -> list[Line]:
        """All that have entries, when their time has come; and before that, those that somebody waits for."""
        next_at = self._round_at + self._apart_s
        while (now := time.monotonic()) < next_at and not self.stopping:
            between_at = self._between_at + ROUND_S
            if self._awaited and now >= between_at:
                self._between_at = now
                return self._going(self._awaited)
            await self.wake.wait((min(next_at, between_at) if self._awaited else next_at) - now)
        self._round_at = self._between_at = now
        lines = self._going(self._stirred)
        self._apart_s = AWAITED_ROUND_S if self._joins_wait else min(max(ROUND_S, LINE_S * len(lines)), ROUND_MAX_S)
        return lines

    def _going(self, event_ids: set[str]) -> list[Line]:
        lines, gone = self._ours(event_ids), set(event_ids)
        self._stirred -= gone
        self._awaited -= gone
        return lines

    def _ours(self, among: Iterable[str] | None = None) -> list[Line]:
        held = self._shards.epochs
        lines = self._book if among is None else self._book.known(among)
        return [line for line in lines if line.shard in held and line.generation > 0]

    async def _sweep(self) -> None:
        if time.monotonic() - self._swept_at < SWEEP_S:
            return
        lines = self._ours()
        found = await self._store.waits(lines)
        self._stirred |= {line.event_id for line, waits in zip(lines, found, strict=True) if waits}
        self._swept_at = time.monotonic()

    # ---- the way of the entries

    async def _move(self, lines: Sequence[Line]) -> tuple[set[str], set[str]]:
        """Once around for these lines. → those that have more, and those that are being recovered."""
        taken = await self._store.take(lines, self._reached)
        stale = {line.event_id for line in lines} - {one.line.event_id for one in taken}
        if self._forgotten(lines):
            failpoint("journal.forgotten")
        for one in taken:
            await self._mind_the_era(one)
        full = [one for one in taken if one.entries]
        records = [record for one in full for record in await self._records(one)]
        if records:
            failpoint("journal.taken")
            await self._publisher.publish(self._topic, records)
            failpoint("journal.published")
            telemetry.PUBLISHED.labels("queue-journal").inc(len(records))
        if full:
            self._reached |= {one.line.event_id: one.reached for one in full}
            await self._store.say_reached(full)
            self.signals["journaled"].fire(sum(len(one.entries) for one in full))
        return {one.line.event_id for one in taken if one.entries or one.gap}, stale

    def _forgotten(self, lines: Sequence[Line]) -> bool:
        """Valkey has forgotten of these what Kafka has, or is another server by now. → whether there was anything."""
        return bool([line for line in lines if self._reached.pop(line.event_id, None)])

    async def _mind_the_era(self, taken: Taken) -> None:
        """A new one where the journal has a gap, and where the topic will soon forget the last snapshot."""
        if taken.gap:
            gap = QueueJournal(event_id=taken.line.event_id, kind="gap", era=taken.era, timestamp=_now_ms())
            await self._publisher.publish(self._topic, [_record(gap, f"gap:{taken.era}")])
            self.signals["gaps"].fire()
        elif time.time() - (taken.snapshot_at or _created_s(taken.line)) < SNAPSHOT_EVERY_S:
            return
        await _unless_stale(self._store.begin_era(taken))

    async def _records(self, taken: Taken) -> list[tuple[str, str, Headers]]:
        eras = [entry for entry in taken.entries if entry.kind == "e"]
        whole = [record for entry in eras[-1:] for record in await self._snapshot(taken, entry)]
        return whole + [_record(message, message_id) for message, message_id in _messages(taken)]

    async def _snapshot(self, taken: Taken, begin: Entry) -> list[tuple[str, str, Headers]]:
        """All who wait, in parts. Empty where the server changed meanwhile: then another one is written later."""
        name, after, ended, parts = uuid.uuid4().hex, 0, False, []
        while not ended:
            piece = await _unless_stale(self._store.scan(taken, after))
            if piece is None:
                return []
            users, sequences, ended = piece
            after = max(sequences, default=after)
            parts.append((users, sequences))
        self.signals["snapshots"].fire()
        return [
            _record(
                QueueJournal(
                    event_id=taken.line.event_id,
                    kind="snapshot",
                    era=begin.era,
                    timestamp=_now_ms(),
                    users=users,
                    sequences=sequences,
                    snapshot=name,
                    part=part,
                    parts=len(parts) if part == len(parts) - 1 else None,
                    watermark=begin.sequences[0] if part == len(parts) - 1 else None,
                ),
                f"{name}.{part}",
            )
            for part, (users, sequences) in enumerate(parts)
        ]


def _messages(taken: Taken) -> Iterator[tuple[QueueJournal, str]]:
    """The entries, those of one kind and era together."""
    for entries in _runs(entry for entry in taken.entries if entry.kind in KINDS):
        first = entries[0]
        message = QueueJournal(
            event_id=taken.line.event_id,
            kind=KINDS[first.kind],
            era=first.era,
            timestamp=int(first.id.partition("-")[0]),
            users=[user for entry in entries for user in entry.users],
            sequences=[sequence for entry in entries for sequence in entry.sequences],
        )
        yield message, first.id


def _runs(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    run: list[Entry] = []
    size = 0
    for entry in entries:
        same = run and (KINDS[entry.kind], entry.era) == (KINDS[run[0].kind], run[0].era)
        if run and (not same or size + len(entry.users) > USERS_MAX):
            yield run
            run, size = [], 0
        run.append(entry)
        size += len(entry.users)
    if run:
        yield run


def _record(message: QueueJournal, name: str) -> tuple[str, str, Headers]:
    text = msgspec.json.encode(message).decode()
    return message.event_id, text, cloud_event_headers(f"{message.event_id}:{name}", "queue-journal")


async def _unless_stale(step: Awaitable[T]) -> T | None:
    """None where the line is being recovered: its journal waits until it is open again."""
    try:
        return await step
    except StaleGeneration:
        return None


def _now_ms() -> int:
    return int(time.time() * 1000)


def _created_s(line: Line) -> float:
    return line.created_at.timestamp() if line.created_at is not None else time.time()
