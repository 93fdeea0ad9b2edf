"""The line and its admission, put together as `wiring` does, for tests of those stages."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from fairgate.admission.admit import Admission
from fairgate.admission.owner import Owner
from fairgate.admission.pace import Bounds, Ramp
from fairgate.admission.recovery import Reader, Recovery
from fairgate.admission.wake import JoinListener
from fairgate.config import SHARDS
from fairgate.domain.journal import Ledger
from fairgate.domain.line import Line, LineState
from fairgate.domain.place import Place, PlaceSigner
from fairgate.errors import FairgateError, Unavailable
from fairgate.queue.lines import Lines
from fairgate.queue.queue import Queue
from fairgate.stores.channel import Channel
from fairgate.stores.database import Database
from fairgate.stores.leases import Shards
from fairgate.stores.line import LineStore
from fairgate.stores.lines import LineBook
from fairgate.stores.outbox import OutboxBell
from fairgate.stores.valkey import client

NO_BOUND = Ramp(1e9, 2e9)
SIGNER = PlaceSigner(b"a key of the tests, long enough")


class Fans:
    """The edge's side: one process that takes joins."""

    def __init__(self, dsn: str, valkey_url: str) -> None:
        self.database = Database(dsn)
        self.book = LineBook(self.database)
        self.store = LineStore(Channel(valkey_url))
        self.queue = Queue(self.book, self.store, self.database, SIGNER)
        self.lines = Lines(self.database)

    async def join(self, event_id: str, user_id: str, place_token: str | None = None) -> Place:
        return await self._answer(self.queue.join, event_id, user_id, place_token)

    async def position(self, event_id: str, user_id: str) -> Place:
        return await self._answer(self.queue.position, event_id, user_id)

    async def create(self, event_id: str, **settings: Any) -> Line:
        """An open line that takes joins when this returns."""
        settings.setdefault("state", LineState.OPEN)
        await self.lines.create(event_id, **settings)
        await self.until_ready(event_id)
        return self.book.get(event_id)

    async def until_ready(self, event_id: str, within_s: float = 60.0) -> None:
        async with asyncio.timeout(within_s):
            while True:
                await self.book.refresh()
                line = self.book.get(event_id)
                if await self.store.prepared(line):
                    return
                async with self.book.signals["read"].expect(1, 20):
                    pass

    async def _answer(self, ask: Any, event_id: str, user_id: str, *more: Any) -> Place:
        future: asyncio.Future[Place | FairgateError] = asyncio.get_running_loop().create_future()
        ask(event_id, user_id, future.set_result, *more)
        value = await future
        if isinstance(value, FairgateError):
            raise value
        return value


class NoJournal:
    """For tests in which no server loses anything."""

    async def read(self, since: Mapping[str, datetime]) -> dict[str, Ledger]:
        raise Unavailable("this test reads no journal")


class Gatekeeper:
    """One admission process."""

    def __init__(
        self,
        dsn: str,
        valkey_url: str,
        name: str | None = None,
        journal: Reader | None = None,
        grace_s: float = 0.0,
        **bounds: Any,
    ) -> None:
        self.database = Database(dsn)
        self.book = LineBook(self.database)
        self.store = LineStore(Channel(valkey_url))
        name = name or f"admission-{uuid.uuid4().hex[:6]}"
        self.shards = Shards(self.database, "lines", "admission-test", name, SHARDS)
        self.recovery = Recovery(self.database, self.book, self.store, self.shards, journal or NoJournal())
        self.owner = Owner(self.database, self.book, self.store, self.shards, recovery=self.recovery, grace_s=grace_s)
        self.bell = OutboxBell(self.database)
        none = {"unsettled_max": 1_000_000, "lag": NO_BOUND, "lag_s": NO_BOUND, "outbox_age_s": NO_BOUND}
        self.admission = Admission(
            self.database, self.owner, self.store, self.bell, bounds=Bounds(**{**none, **bounds})
        )
        self.book.on_change(lambda line: self.admission.wake.set())
        self.book.on_notice(self.admission.stock_changed)
        self.shards.on_taken(self.admission.wake.set)
        self.recovery.on_restored(self.admission.wake.set)
        self.valkey = client(valkey_url)
        self.ear = JoinListener(self.valkey, self.admission.someone_joined, self.owner.sweep_soon)

    async def start(self) -> None:
        for service in (self.book, self.shards, self.recovery, self.admission, self.ear):
            await service.start()

    async def stop(self) -> None:
        for service in (self.ear, self.admission, self.recovery, self.shards, self.book):
            await service.stop()
        await self.store.channel.close()
        await self.valkey.aclose()
        await self.database.close()


@asynccontextmanager
async def fans(dsn: str, valkey_url: str) -> AsyncIterator[Fans]:
    crowd = Fans(dsn, valkey_url)
    await crowd.book.start()
    try:
        yield crowd
    finally:
        await crowd.book.stop()
        await crowd.store.channel.close()
        await crowd.database.close()


@asynccontextmanager
async def gatekeeper(dsn: str, valkey_url: str, **bounds: Any) -> AsyncIterator[Gatekeeper]:
    keeper = Gatekeeper(dsn, valkey_url, **bounds)
    await keeper.start()
    try:
        yield keeper
    finally:
        await keeper.stop()
