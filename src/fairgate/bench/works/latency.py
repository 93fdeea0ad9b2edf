"""From the join's answer to `ticket:issued` at the fan's socket, at a steady rate."""

from __future__ import annotations

import asyncio
import contextlib
import time
from array import array
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import aiohttp

from fairgate.bench import sockets
from fairgate.bench.load import Driver
from fairgate.bench.measured import Figure, Measured, of_latencies
from fairgate.bench.options import Options
from fairgate.bench.samples import latencies
from fairgate.bench.sides import Side
from fairgate.errors import Unavailable

# After the last join: who is not told by then is counted as untold.
LAST_S = 30.0
SETTLE_S = 1.0


class Fan:
    """One listener: when its join was answered, when it was told, how often."""

    def __init__(self, user_id: str, event_id: str) -> None:
        self.user_id, self._event_id = user_id, event_id
        self.answered_at: float | None = None
        self.told_at: float | None = None
        self.told = asyncio.Event()
        self.times = 0

    def hear(self, name: str, payload: Any) -> None:
        if name == "ticket:issued" and (payload["eventId"], payload["userId"]) == (self._event_id, self.user_id):
            self.times += 1
            self.told_at = self.told_at or time.perf_counter()
            self.told.set()

    @property
    def waited_s(self) -> float | None:
        """A push may overtake the join's answer: that is a latency of nothing."""
        if self.told_at is None or self.answered_at is None:
            return None
        return max(0.0, self.told_at - self.answered_at)


async def measure(side: Side, driver: Driver, options: Options) -> Measured:
    """Every fan listens, then joins at its moment. The first goes alone: once it is told, everything is there."""
    await side.on()
    side.pin_api(None)
    event_id = await side.open_line(f"bench-{uuid4().hex[:8]}", paused=False)
    users, _ = await driver.fans(side.target, options.listeners)
    crowd = [Fan(user, event_id) for user in users]
    async with sockets.session() as http:
        ears = await sockets.connect_all([sockets.Socket(http, side.target, fan.user_id, fan.hear) for fan in crowd])
        try:
            first, crowd = crowd[0], crowd[1:]
            await _join(side, first, event_id, http)
            await _until_told([first])
            await asyncio.sleep(SETTLE_S)
            await _join_at(side, crowd, event_id, options.rate, http)
            await _until_told(crowd)
        finally:
            await sockets.end(ears)
    return _found(side, crowd)


async def _join_at(side: Side, crowd: Sequence[Fan], event_id: str, rate: float, http: aiohttp.ClientSession) -> None:
    began, joins = time.perf_counter(), []
    for number, fan in enumerate(crowd):
        await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
        joins.append(asyncio.create_task(_join(side, fan, event_id, http)))
    await asyncio.gather(*joins)


async def _join(side: Side, fan: Fan, event_id: str, http: aiohttp.ClientSession) -> None:
    token = side.target.tokens.get(fan.user_id)
    body = {"eventId": event_id} if token else {"eventId": event_id, "userId": fan.user_id}
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    url = f"http://{side.target.api.host}:{side.target.api.port}/queue/join"
    async with http.post(url, json=body, headers=headers) as answer:
        if answer.status != 200:
            raise Unavailable(f"{side.name} answered a join with {answer.status}")
        await answer.read()
    fan.answered_at = time.perf_counter()


async def _until_told(crowd: Sequence[Fan]) -> None:
    """Or until nobody waits any more."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LAST_S):
            await asyncio.gather(*(fan.told.wait() for fan in crowd))


def _found(side: Side, crowd: Sequence[Fan]) -> Measured:
    waits = array("d", (waited for fan in crowd if (waited := fan.waited_s) is not None))
    found = Measured(
        [
            Figure("latency", "untold", "fans", side.name, len(crowd) - len(waits)),
            Figure("latency", "told twice", "fans", side.name, sum(fan.times > 1 for fan in crowd)),
        ]
    )
    found += of_latencies("latency", "join answered to told", side.name, latencies(waits))
    return found
