"""Twice a second: how the crowd, SQL, Valkey, Kafka and admission stand. What is away leaves a gap in its series."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import aiosql
import asyncpg

from fairgate.chaos.crowd import Crowd
from fairgate.chaos.figures import bounds_of, leading
from fairgate.chaos.readiness import metrics_of
from fairgate.chaos.samples import Sample
from fairgate.chaos.site import Site
from fairgate.checker.books import connect
from fairgate.checker.run import Recovery
from fairgate.errors import Unavailable
from fairgate.ops.lag import Reading, measured, readings
from fairgate.stores.keys import LineKeys
from fairgate.stores.valkey import client, translated

EVERY_S, LAG_EVERY_S, BOUND_EVERY_S = 0.5, 1.0, 1.0
ANSWER_S = 2.0
# After a recovery admission holds, and clients learn their place: what they are told then binds nobody.
ANNOUNCED_S = 10.0
AWAY = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, Unavailable)


@cache
def queries() -> Any:
    return aiosql.from_path(Path(__file__).with_name("queries.sql"), "asyncpg", mandatory_parameters=False)


class Watch:
    """`run` as a task until cancelled, then `close`. Who watches goes past every proxy."""

    def __init__(self, site: Site, crowd: Crowd, samples: list[Sample], began: float) -> None:
        self._site, self._crowd, self._samples, self._began = site, crowd, samples, began
        self._sql: asyncpg.Connection[asyncpg.Record] | None = None
        self._lag: int | None = None
        self._bound: str | None = None
        self._generations: list[int] | None = None
        self._known_at = began
        self.recoveries: list[Recovery] = []

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._look_at_lag())
            tasks.create_task(self._look_at_admission())
            while True:
                self._samples.append(await self.look())
                await asyncio.sleep(EVERY_S)

    async def close(self) -> None:
        if self._sql is not None:
            self._sql.terminate()  # it may be frozen: nobody waits for a goodbye

    async def look(self) -> Sample:
        tally = self._crowd.tally
        sample = Sample(at_s=0.0, joins=tally.joins, told=tally.told, lag=self._lag, bound=self._bound)
        await asyncio.gather(self._ask_sql(sample), self._ask_valkey(sample))
        sample.at_s = round(time.monotonic() - self._began, 2)
        return sample

    # ---- SQL

    async def _ask_sql(self, sample: Sample) -> None:
        try:
            async with asyncio.timeout(ANSWER_S):
                if self._sql is None or self._sql.is_closed():
                    self._sql = await connect(self._site.observer)
                row = await queries().progress(self._sql, event_ids=self._crowd.event_ids)
        except AWAY:
            await self.close()
            self._sql = None
            return
        sample.admitted, sample.issued, sample.unsent = row["admitted"], row["issued"], row["unsent"]
        sample.outbox_age_s = round(row["age_s"], 2)
        self._note_recoveries(row["generations"])

    def _note_recoveries(self, generations: list[int] | None) -> None:
        """A new generation of a line is the announcement of its recovery; its first is no recovery."""
        now, before = time.monotonic(), self._generations
        if before is not None and generations is not None and len(before) == len(generations):
            self.recoveries += [
                Recovery(event_id, self._known_at, now + ANNOUNCED_S)
                for event_id, old, new in zip(sorted(self._crowd.event_ids), before, generations, strict=True)
                if old != new
            ]
        self._generations, self._known_at = generations, now

    # ---- Valkey

    async def _ask_valkey(self, sample: Sample) -> None:
        url = self._site.observer.valkey_url
        assert url is not None
        valkey = client(url)
        with contextlib.suppress(*AWAY), translated():
            async with asyncio.timeout(ANSWER_S):
                sample.waiting = {event_id: await _waiting(valkey, event_id) for event_id in self._crowd.event_ids}
        with contextlib.suppress(*AWAY, Exception):
            await valkey.aclose()

    # ---- Kafka

    async def _look_at_lag(self) -> None:
        """As the brokers count it: a transaction's marker is a message as well."""
        asked = readings(self._site.observer)
        try:
            while True:
                self._lag = await _lag(asked)
                await asyncio.sleep(LAG_EVERY_S)
        finally:
            for reading in asked:
                with contextlib.suppress(*AWAY):
                    await reading.log.close()

    # ---- admission

    async def _look_at_admission(self) -> None:
        """Which bound decided most rounds of all admission processes since the last look."""
        before: dict[str, dict[str, float]] = {}
        while True:
            texts = {
                name: await asyncio.to_thread(_metrics, self._site, name) for name in self._site.names("admission")
            }
            now = {name: bounds_of(text) for name, text in texts.items() if text}
            self._bound = leading(before, now)
            before = now
            await asyncio.sleep(BOUND_EVERY_S)


async def _waiting(valkey: Any, event_id: str) -> int:
    keys = LineKeys(event_id)
    return int(await valkey.zcard(keys.line)) + int(await valkey.zcard(keys.claims))


async def _lag(asked: Sequence[Reading]) -> int | None:
    try:
        async with asyncio.timeout(ANSWER_S * 5):
            return sum([(await measured(reading)).messages for reading in asked])
    except AWAY:
        return None


def _metrics(site: Site, name: str) -> str:
    with contextlib.suppress(OSError, ValueError):
        return metrics_of(site.stack, name)
    return ""
