"""The figures of the live view, once a second: each is a query that the rehearsal itself pays for."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence

import asyncpg
import msgspec

from fairgate.checker import books
from fairgate.checker.facts import Span, span
from fairgate.checker.history import History
from fairgate.config import Config
from fairgate.demo.options import Plan
from fairgate.errors import Unavailable
from fairgate.notification.tell import GROUP as NOTIFICATION_GROUP
from fairgate.stores.keys import LineKeys
from fairgate.stores.valkey import client, translated
from fairgate.streams.log import Log
from fairgate.streams.topics import Names
from fairgate.ticketing.settle import GROUP as TICKETING_GROUP

EVERY_S, LAG_EVERY_S = 1.0, 3.0
LATEST = 500
ANSWER_S = 2.0


class Figures(msgspec.Struct, kw_only=True):
    """None: nobody could say just now."""

    at_s: float = 0.0
    arrived: int = 0
    joined: int = 0
    waiting: int | None = None
    admitted: int | None = None
    issued: int | None = None
    sold_out: int = 0
    told: int = 0
    lag: int | None = None
    outbox: int | None = None
    turn_to_ticket_s: Span = Span(None, None, None)

    @property
    def quiet(self) -> bool:
        """Nothing is on its way any more."""
        return self.outbox == 0 and self.waiting == 0 and self.admitted is not None and self.admitted == self.issued


class Gauge:
    """`watch` until cancelled; `figures` is the latest."""

    def __init__(self, config: Config, plan: Plan, histories: Sequence[History]) -> None:
        self._config, self._plan, self._histories = config, plan, histories
        self._began = time.monotonic()
        self._sql: asyncpg.Connection[asyncpg.Record] | None = None
        assert config.valkey_url is not None
        self._valkey = client(config.valkey_url)
        self._lag: int | None = None
        prefix, names = config.topic_prefix, Names(config.topic_prefix)
        self._reads = [
            (prefix + TICKETING_GROUP, names.ticket_issue),
            (prefix + NOTIFICATION_GROUP, names.ticket_issued),
            (prefix + NOTIFICATION_GROUP, names.notification),
        ]
        self.figures = Figures()

    async def watch(self, show: Callable[[Figures], None]) -> None:
        lag = asyncio.create_task(self._watch_lag())
        try:
            while True:
                show(await self.look())
                await asyncio.sleep(EVERY_S)
        finally:
            lag.cancel()
            await asyncio.gather(lag, return_exceptions=True)

    async def close(self) -> None:
        await self._valkey.aclose()
        if self._sql is not None:
            await self._sql.close()

    async def look(self) -> Figures:
        """Never raises: what cannot be asked is None."""
        figures = self._of_the_crowd()
        figures.lag = self._lag
        with contextlib.suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            await self._ask_sql(figures)
        with contextlib.suppress(Unavailable):
            figures.waiting = await self._waiting()
        self.figures = figures
        return figures

    def _of_the_crowd(self) -> Figures:
        fans = self._histories
        return Figures(
            at_s=time.monotonic() - self._began,
            arrived=sum(fan.arrived_at is not None for fan in fans),
            joined=sum(fan.joined for fan in fans),
            sold_out=sum(fan.end == "sold_out" for fan in fans),
            told=sum(fan.done for fan in fans),
        )

    async def _ask_sql(self, figures: Figures) -> None:
        if self._sql is None or self._sql.is_closed():
            self._sql = await books.connect(self._config)
        event_id = self._plan.event_id
        async with asyncio.timeout(ANSWER_S):
            row = await books.queries().progress(self._sql, event_id=event_id)
            after = max(0, row["admitted"] - LATEST)
            latest = [
                r["seconds"] async for r in books.queries().last_tickets(self._sql, event_id=event_id, after=after)
            ]
        figures.admitted, figures.issued, figures.outbox = row["admitted"], row["issued"], row["unsent"]
        figures.turn_to_ticket_s = span(latest)

    async def _waiting(self) -> int:
        keys = LineKeys(self._plan.event_id)
        with translated():
            async with asyncio.timeout(ANSWER_S):
                return int(await self._valkey.zcard(keys.line)) + int(await self._valkey.zcard(keys.claims))

    async def _watch_lag(self) -> None:
        logs = [(Log(self._config, group), topic) for group, topic in self._reads]
        while True:
            try:
                self._lag = sum([await self._behind(log, topic) for log, topic in logs])
            except Unavailable:
                self._lag = None
            await asyncio.sleep(LAG_EVERY_S)

    async def _behind(self, log: Log, topic: str) -> int:
        """Messages, as Kafka counts them: a transaction's marker is one as well."""
        ends = await log.ends(topic)
        committed = await log.committed(topic, list(ends))
        return sum(max(0, end - committed.get(partition, 0)) for partition, end in ends.items())
