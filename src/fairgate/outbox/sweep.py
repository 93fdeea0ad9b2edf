"""Closes what Kafka itself can lose (retention, a topic made anew, a power cut): what SQL promised goes out again.

A sweeper notes the database's time and the end of the topic. When the group has read up to that end, whatever SQL still
misses from before that time was lost, and is sent again: a repeat is harmless, since an admission is settled once and a
notification has its id. What one look found complete the next one leaves alone, whichever process it is that looks.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Protocol

import msgspec
import structlog

from fairgate.lifecycle import Service
from fairgate.stores.database import Database
from fairgate.stores.leases import Shards
from fairgate.streams.log import Log, Offsets, has_passed

log = structlog.get_logger("fairgate.outbox")

# Losses of this kind are rare and nobody waits for the last second; a look costs two small questions to Kafka.
EVERY_S = 15.0
# What was promised just before the mark may have been sent just after it.
MARGIN = timedelta(seconds=30)
CHUNK = 1_000

# One process sweeps: the one that holds this shard.
SWEEPING_SHARD = 0


class Found(msgspec.Struct, frozen=True):
    """How many went out again; and since when something is missing, sent again now or not. None: nothing is."""

    count: int
    oldest: datetime | None


class Lost(Protocol):
    """What is missing behind a stage, and how it goes out again."""

    name: str

    async def time(self) -> datetime: ...
    async def complete_until(self) -> datetime | None: ...
    async def note_complete(self, until: datetime) -> None: ...
    async def visible_until(self, before: datetime) -> datetime: ...
    async def send_again(self, since: datetime | None, before: datetime) -> Found: ...


class Sweep(Service):
    """Signals: `looked`, `sent_again` (count)."""

    idle_s = EVERY_S

    def __init__(self, lost: Lost, kafka: Log, topic: str, shards: Shards) -> None:
        super().__init__()
        self.name = f"sweep-{lost.name}"
        self._lost, self._kafka, self._topic, self._shards = lost, kafka, topic, shards
        self._mark: tuple[datetime, Offsets] | None = None

    async def run_once(self) -> bool:
        if SWEEPING_SHARD not in self._shards.epochs:
            self._mark = None
            return False
        if self._mark is not None:
            before, ends = self._mark
            if not has_passed(await self._kafka.committed(self._topic, list(ends)), ends):
                return False
            await self._send_again(before - MARGIN)
        self._mark = await self._now()
        self.signals["looked"].fire()
        return False

    async def teardown(self) -> None:
        await self._kafka.close()

    async def _send_again(self, before: datetime) -> None:
        known = await self._lost.complete_until()
        # A clock that was set back stamps what comes now into a time that was complete by the former one.
        since = known if known is not None and known < before else None
        # Asked first: a transaction stamps its rows before others can see them.
        visible = await self._lost.visible_until(before)
        found = await self._lost.send_again(since, before)
        await self._lost.note_complete(min(visible, found.oldest or before))
        if found.count:
            log.warning("Kafka has lost what SQL promised; sent again", what=self._lost.name, count=found.count)
            self.signals["sent_again"].fire(found.count)

    async def _now(self) -> tuple[datetime, Offsets]:
        return await self._lost.time(), await self._kafka.ends(self._topic)


class _InSql:
    """By the database's clock, which the rows were stamped by."""

    name: str

    def __init__(self, database: Database) -> None:
        self._database = database

    async def time(self) -> datetime:
        async with self._database.connection() as connection:
            now: datetime = await self._database.queries.database_time(connection)
        return now

    async def complete_until(self) -> datetime | None:
        """Nothing from before is missing. None: nobody has looked yet."""
        async with self._database.connection() as connection:
            until: datetime | None = await self._database.queries.complete_until(connection, sweep=self.name)
        return until

    async def note_complete(self, until: datetime) -> None:
        async with self._database.connection() as connection:
            await self._database.queries.note_complete(connection, sweep=self.name, until=until)

    async def visible_until(self, before: datetime) -> datetime:
        """No row of before this moment can still appear; `before` at the latest."""
        async with self._database.connection() as connection:
            until: datetime = await self._database.queries.visible_until(connection, before=before, margin=MARGIN)
        return until


class LostAdmissions(_InSql):
    """Admissions without a ticket, though ticketing has read past them."""

    name = "lost-admissions"

    async def send_again(self, since: datetime | None, before: datetime) -> Found:
        queries, which = self._database.queries, {"since": since, "before": before}
        async with self._database.transaction() as connection:
            if await queries.all_settled(connection, **which):
                return Found(0, None)
            return Found(**await queries.resend_lost_admissions(connection, **which, limit=CHUNK))


class UntoldTickets(_InSql):
    """Tickets without an inbox row, though notification has read past them."""

    name = "untold-tickets"

    async def send_again(self, since: datetime | None, before: datetime) -> Found:
        queries, which = self._database.queries, {"since": since, "before": before}
        async with self._database.transaction() as connection:
            if await queries.all_told(connection, **which):
                return Found(0, None)
            again = queries.reannounce_untold_tickets
            return Found(**await again(connection, **which, limit=CHUNK, shard=SWEEPING_SHARD))
