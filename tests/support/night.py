"""A line whose server will lose something: one admission process, one that journals, and the fans."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fairgate.config import Config
from fairgate.domain.line import LineState
from fairgate.local.supervisor import Stack
from fairgate.outbox.journal import Journal
from fairgate.stores.line import JOINS_MAX
from fairgate.streams.journal import JournalReader
from tests.conftest import Servers
from tests.support.journal import journaling, until_empty
from tests.support.line import Fans, Gatekeeper, fans, gatekeeper


class Night:
    """One admission process, one that journals, and the fans."""

    def __init__(self, crowd: Fans, keeper: Gatekeeper, journal: Journal, config: Config) -> None:
        self.crowd, self.keeper, self.journal, self.config = crowd, keeper, journal, config

    async def fill(self, event_id: str, count: int, **settings: Any) -> list[str]:
        """A line with so many waiters, all of whom Kafka has. → their names in order."""
        line = await self.crowd.create(event_id, **{"state": LineState.PAUSED, **settings})
        names = [f"u{i}" for i in range(count)]
        for start in range(0, count, JOINS_MAX):
            await self.crowd.store.join(line, names[start : start + JOINS_MAX])
        await self.all_journaled(event_id)
        return names

    async def all_journaled(self, event_id: str) -> None:
        await until_empty(self.journal, self.crowd.store, event_id)

    async def members(self, event_id: str) -> list[tuple[str, int]]:
        key = self.crowd.store.keys(event_id).line
        pairs = await self.crowd.store.channel.command("ZRANGE", key, 0, -1, "WITHSCORES")
        return [(user.decode(), int(score)) for user, score in pairs]

    async def restored(self, event_id: str, generation: int, within_s: float = 60.0) -> None:
        """Until the line is open in a newer generation."""
        async with asyncio.timeout(within_s):
            while self.crowd.book.get(event_id).generation == generation:
                async with self.crowd.book.signals["changed"].expect(1, within_s):
                    pass
        await self.crowd.until_ready(event_id, within_s)

    async def flushed(self, *event_ids: str) -> None:
        """Wiped, and restored."""
        generations = {event_id: self.crowd.book.get(event_id).generation for event_id in event_ids}
        await self.crowd.store.channel.command("FLUSHALL")
        for event_id, generation in generations.items():
            await self.restored(event_id, generation)

    async def recovery(self, event_id: str) -> dict[str, Any]:
        """The last one, as SQL has it."""
        async with self.crowd.database.connection() as connection:
            rows = await self.crowd.database.queries.last_recoveries(connection, event_id=event_id)
        return dict(rows[0])


@asynccontextmanager
async def night_at(stack: Stack, grace_s: float = 0.0) -> AsyncIterator[Night]:
    servers = Servers(stack.config)
    dsn, url = servers.postgres_dsn, servers.valkey_url
    reader = JournalReader(stack.config)
    async with (
        fans(dsn, url) as crowd,
        gatekeeper(dsn, url, journal=reader, grace_s=grace_s) as keeper,
        journaling(stack.config) as journal,
    ):
        yield Night(crowd, keeper, journal, stack.config)
