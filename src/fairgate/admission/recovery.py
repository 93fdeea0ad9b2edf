"""Restores lines whose server has lost data, or may have: wiped, restarted, failed over, gone back in time.

1. The line is held: nobody joins, leaves or is claimed; and a new generation begins in SQL, so that no number is ever
   given twice.
2. The journal is read to its present end, one pass for all lines that need it. Where Kafka does not answer, the lines
   stay held (503 for joins): a line that is not whole is never opened.
3. Who waits = (the journal, and what the server still has: line, claims, entries on their way) without who left, was
   admitted or was sent away. So a lost join comes back, and a lost removal does not bring anybody back.
4. Of each generation that ended, the highest sequence that was found is its *mark*. A `placeToken` above it proves a
   place that was lost; ends above a mark are put into the cache of outcomes first, so that no token outlives its place.
5. The line is opened: joins go on, and for a grace time admission holds while clients show their tokens.
6. What became of all others is put back into the cache of outcomes from SQL, while the line is open.
A crash on the way repeats all of it: every step may be.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence, Set
from datetime import UTC, datetime
from typing import Protocol

import msgspec
import structlog

from fairgate import telemetry
from fairgate.domain.journal import Ledger, Places
from fairgate.domain.line import Line, first_sequence, generation_of
from fairgate.domain.place import Outcome, Status
from fairgate.errors import StaleEpoch
from fairgate.failpoints import failpoint
from fairgate.lifecycle import Service
from fairgate.stores.database import Database
from fairgate.stores.leases import Shards
from fairgate.stores.line import READS_MAX, LineStore
from fairgate.stores.lines import LineBook, next_generation
from fairgate.stores.recovery import RecoveryStore
from fairgate.stores.standings import read_standings

log = structlog.get_logger("fairgate.recovery")

_NEVER = datetime.fromtimestamp(0, UTC)


class Reader(Protocol):
    """What a recovery needs of the journal (`streams.journal.JournalReader`)."""

    async def read(self, since: Mapping[str, datetime]) -> dict[str, Ledger]: ...


class Wanted(msgspec.Struct):
    """A line to restore. `ended` is its last generation, once the new one is in SQL. `left`, `era`: the server's."""

    line: Line
    epoch: int
    cause: str
    noticed_at: float
    ended: int = 0
    left: int = 0
    era: int = 0


class Rebuilt(msgspec.Struct, frozen=True, kw_only=True):
    """What a line shall be: who waits, what that changes, and the mark of each generation that ended."""

    waiting: Places
    added: Places
    removed: Set[str]
    present: int
    by_journal: int
    marks: dict[int, int]


class Recovery(Service):
    """Signals: `restored` (per line), `remembered` (per line whose outcomes are back)."""

    name = "recovery"
    idle_s = 1.0

    def __init__(self, database: Database, book: LineBook, store: LineStore, shards: Shards, reader: Reader) -> None:
        super().__init__()
        self._database, self._book, self._lines, self._shards = database, book, store, shards
        self._store, self._reader = RecoveryStore(store), reader
        self._wanted: dict[str, Wanted] = {}
        self._forgotten: dict[str, tuple[str, Places]] = {}  # event id → (user that was remembered last, who left)
        self._watchers: list[Callable[[], None]] = []

    def on_restored(self, watcher: Callable[[], None]) -> None:
        """Called when lines are open again."""
        self._watchers.append(watcher)

    def begin(self, line: Line, epoch: int, cause: str) -> None:
        """Restore this line, unless that is under way."""
        if line.event_id not in self._wanted:
            log.warning("a line is being restored", line=line.event_id, generation=line.generation, cause=cause)
            self._wanted[line.event_id] = Wanted(line, epoch, cause, time.monotonic())
            self.wake.set()

    def under_way(self, event_id: str) -> bool:
        return event_id in self._wanted

    async def run_once(self) -> bool:
        telemetry.RECOVERING.set(len(self._wanted))
        if self._wanted:
            await self._restore_all()
        elif self._forgotten:
            await self._remember_some()
        telemetry.RECOVERING.set(len(self._wanted))
        return bool(self._wanted or self._forgotten)

    async def _restore_all(self) -> None:
        await self._lines.channel.connect()
        held = [one for one in list(self._wanted.values()) if await self._still_ours(one, self._hold(one))]
        if not held:
            return
        since = {one.line.event_id: one.line.created_at or _NEVER for one in held}
        ledgers = await self._reader.read(since)
        await self._book.refresh()
        for one in held:
            if await self._still_ours(one, self._restore(one, ledgers[one.line.event_id])):
                self._done(one)
        for watcher in self._watchers:
            watcher()

    async def _still_ours(self, one: Wanted, step: Awaitable[None]) -> bool:
        """Do the step; a line that went to another owner, or moved on, is not ours to restore."""
        try:
            await step
        except StaleEpoch:
            log.info("the line went to another owner", line=one.line.event_id)
            del self._wanted[one.line.event_id]
            return False
        return True

    # ---- 1 held, and of a new generation

    async def _hold(self, one: Wanted) -> None:
        if self._shards.epochs.get(one.line.shard) != one.epoch:
            raise StaleEpoch
        held = await self._store.hold(one.line, one.epoch)
        one.left, one.era = held.left, held.era
        failpoint("recovery.held")
        if not one.ended:
            lease = self._shards.name_of(one.line.shard)
            if await next_generation(self._database, one.line, lease, one.epoch) is None:
                raise StaleEpoch
            one.ended = one.line.generation
            failpoint("recovery.renumbered")

    # ---- 3, 4, 5

    async def _restore(self, one: Wanted, ledger: Ledger) -> None:
        line = self._book.get(one.line.event_id)
        if line.generation != one.ended + 1:
            raise StaleEpoch
        await self._store.read_journal(line, ledger)
        ended = await self._ended(line)
        new = await self._rebuilt(line, ledger, ended)
        failpoint("recovery.read")
        await self._store.restore(line, one.epoch, new.added, new.removed)
        failpoint("recovery.restored")
        await self._remember_above(line, new.marks, ledger.left, ended)
        await self._write(one, new)
        failpoint("recovery.written")
        counters = await self._counters(line, len(new.waiting), max(one.left, len(ledger.left)))
        fields = counters | {f"mark:{generation}": mark for generation, mark in new.marks.items()}
        await self._store.reopen(line, one.epoch, max(one.era, ledger.last_era) + 1, fields)
        failpoint("recovery.opened")
        self._forgotten[line.event_id] = ("", ledger.left)

    async def _rebuilt(self, line: Line, ledger: Ledger, ended: Places) -> Rebuilt:
        in_line, claims = await self._store.present(line)
        present = in_line | claims
        waiting = ledger.waiting(present, ended)
        return Rebuilt(
            waiting=waiting,
            added={user: sequence for user, sequence in waiting.items() if in_line.get(user) != sequence},
            removed=in_line.keys() - waiting.keys(),
            present=len(present),
            by_journal=sum(present.get(user) != sequence for user, sequence in waiting.items()),
            marks=await self._marks(line, ledger.marks(present)),
        )

    async def _ended(self, line: Line) -> Places:
        async with self._database.connection() as connection:
            rows = await self._database.queries.ends_of_line(connection, event_id=line.event_id)
        return {row["user_id"]: row["sequence"] for row in rows}

    async def _marks(self, line: Line, found: Mapping[int, int]) -> dict[int, int]:
        """Of every generation before this one. What was noted when it ended stands."""
        async with self._database.connection() as connection:
            rows = await self._database.queries.marks_of_line(connection, event_id=line.event_id)
        noted = {row["generation"]: row["watermark"] for row in rows}
        fresh = {g: found.get(g, first_sequence(g)) for g in range(1, line.generation)}
        return fresh | noted

    async def _remember_above(self, line: Line, marks: Mapping[int, int], left: Places, ended: Places) -> None:
        """Ends that a token could be shown for."""
        above = {user: s for user, s in left.items() if s > marks.get(generation_of(s), 0)}
        await self._lines.remember(line.event_id, [(user, Outcome(Status.LEFT, s)) for user, s in above.items()])
        users = [user for user, s in ended.items() if s > marks.get(generation_of(s), 0)]
        for start in range(0, len(users), READS_MAX):
            await self._remember(line.event_id, users[start : start + READS_MAX])

    async def _write(self, one: Wanted, new: Rebuilt) -> None:
        """The recovery in SQL, and the marks of generations whose own recovery did not come so far."""
        none = {"present": 0, "by_journal": 0, "removed": 0, "waiting": 0}
        counts = {
            "present": new.present,
            "by_journal": new.by_journal,
            "removed": len(new.removed),
            "waiting": len(new.waiting),
        }
        async with self._database.transaction() as connection:
            for generation, mark in new.marks.items():
                await self._database.queries.insert_recovery(
                    connection,
                    event_id=one.line.event_id,
                    generation=generation,
                    watermark=mark,
                    cause=one.cause,
                    seconds=time.monotonic() - one.noticed_at,
                    **(counts if generation == one.ended else none),
                )
        telemetry.PLACES_RESTORED.labels("journal").inc(new.by_journal)

    async def _counters(self, line: Line, waiting: int, left: int) -> dict[str, int]:
        """The state's counters as SQL and the journal have them: joined is what they add up to."""
        async with self._database.connection() as connection:
            row = await self._database.queries.counters_of_line(connection, event_id=line.event_id)
        admitted, departed = row["admitted"], row["departed"]
        joined = waiting + left + admitted + departed
        ended = {"left": left, "admitted": admitted, "departed": departed, "serving": row["serving"]}
        return {"joined": joined, **ended}

    def _done(self, one: Wanted) -> None:
        del self._wanted[one.line.event_id]
        telemetry.RECOVERIES.labels(one.cause).inc()
        seconds = round(time.monotonic() - one.noticed_at, 3)
        log.warning("a line is restored", line=one.line.event_id, generation=one.ended + 1, seconds=seconds)
        self.signals["restored"].fire()

    # ---- 6

    async def _remember_some(self) -> None:
        """The next thousand outcomes of a line."""
        event_id, (after, left) = next(iter(self._forgotten.items()))
        if not after:
            await self._lines.remember(event_id, [(user, Outcome(Status.LEFT, s)) for user, s in left.items()])
        async with self._database.connection() as connection:
            rows = await self._database.queries.ended_users(connection, event_id=event_id, after=after, limit=READS_MAX)
        users = [row["user_id"] for row in rows]
        await self._remember(event_id, users)
        self._forgotten[event_id] = (users[-1] if users else after, {})
        if len(users) < READS_MAX:
            del self._forgotten[event_id]
            self.signals["remembered"].fire()

    async def _remember(self, event_id: str, users: Sequence[str]) -> None:
        async with self._database.connection() as connection:
            known = await read_standings(self._database, connection, event_id, users)
        await self._lines.remember(event_id, list(known.items()))
