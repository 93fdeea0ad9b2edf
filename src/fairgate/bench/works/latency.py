"""From the join's answer to `ticket:issued` at the fan's socket, at a steady rate."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from array import array
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import aiohttp
import msgspec

from fairgate.bench.load import Driver
from fairgate.bench.samples import Latencies, latencies
from fairgate.bench.sides import Side
from fairgate.errors import Unavailable

CONNECTING_AT_ONCE = 32
ANSWER_S = 10.0
# After the last join: who is not told by then is counted as untold.
LAST_S = 30.0
SETTLE_S = 1.0


class Told(msgspec.Struct, frozen=True, kw_only=True):
    listeners: int
    told: int
    twice: int
    latencies: Latencies | None


class _Fan:
    """One listener: when its join was answered, when it was told, how often."""

    def __init__(self, user_id: str) -> None:
        self.user_id = user_id
        self.answered_at: float | None = None
        self.told_at: float | None = None
        self.told = asyncio.Event()
        self.times = 0


async def latency(side: Side, driver: Driver, *, listeners: int, rate: float) -> Told:
    """Every fan listens, then joins at its moment."""
    event_id = f"bench-{uuid4().hex[:8]}"
    await side.open_line(event_id, paused=False)
    users, _ = await driver.fans(side.target, listeners)
    crowd = [_Fan(user) for user in users]
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        ears = await _listen(side, crowd, event_id, http)
        try:
            await asyncio.sleep(SETTLE_S)
            await _join_at(side, crowd, event_id, rate, http)
            await _until_told(crowd)
        finally:
            for ear in ears:
                ear.cancel()
            await asyncio.gather(*ears, return_exceptions=True)
    return _told(crowd)


async def _listen(side: Side, crowd: Sequence[_Fan], event_id: str, http: Any) -> list[asyncio.Task[None]]:
    gate, ears = asyncio.Semaphore(CONNECTING_AT_ONCE), []

    async def connect(fan: _Fan) -> None:
        async with gate:
            socket = await _connected(side, fan, http)
        ears.append(asyncio.create_task(_hear(socket, fan, event_id)))

    await asyncio.gather(*(connect(fan) for fan in crowd))
    return ears


async def _connected(side: Side, fan: _Fan, http: Any) -> Any:
    """A Socket.IO connection over WebSocket, by hand: the library's client costs more than what is measured."""
    at = side.target.live
    socket = await http.ws_connect(f"http://{at.host}:{at.port}/socket.io/?EIO=4&transport=websocket")
    async with asyncio.timeout(ANSWER_S):
        token = side.target.tokens.get(fan.user_id)
        await _message(socket, "0")
        await socket.send_str("40" + (json.dumps({"token": token}) if token else ""))
        await _message(socket, "40")
        if token is None:
            await socket.send_str("42" + json.dumps(["subscribe", fan.user_id]))
    return socket


async def _message(socket: Any, wanted: str) -> str:
    """The next message of this kind; pings are answered meanwhile."""
    while True:
        text = str(await socket.receive_str())
        if text == "2":
            await socket.send_str("3")
        elif text.startswith(wanted):
            return text


async def _hear(socket: Any, fan: _Fan, event_id: str) -> None:
    while True:
        text = await _message(socket, "42")
        now = time.perf_counter()
        start = text.index("[")
        name, payload = json.loads(text[start:])[:2]
        if name == "ticket:issued" and payload["eventId"] == event_id and payload["userId"] == fan.user_id:
            fan.times += 1
            fan.told_at = fan.told_at or now
            fan.told.set()
        if start > 2:  # it wants an acknowledgement
            await socket.send_str(f"43{text[2:start]}[true]")


async def _join_at(side: Side, crowd: Sequence[_Fan], event_id: str, rate: float, http: Any) -> None:
    began, joins = time.perf_counter(), []
    for number, fan in enumerate(crowd):
        await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
        joins.append(asyncio.create_task(_join(side, fan, event_id, http)))
    await asyncio.gather(*joins)


async def _join(side: Side, fan: _Fan, event_id: str, http: Any) -> None:
    token = side.target.tokens.get(fan.user_id)
    body = {"eventId": event_id} if token else {"eventId": event_id, "userId": fan.user_id}
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    url = f"http://{side.target.api.host}:{side.target.api.port}/queue/join"
    async with http.post(url, json=body, headers=headers) as answer:
        if answer.status != 200:
            raise Unavailable(f"{side.name} answered a join with {answer.status}")
        await answer.read()
    fan.answered_at = time.perf_counter()


async def _until_told(crowd: Sequence[_Fan]) -> None:
    """Or until nobody waits any more."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LAST_S):
            await asyncio.gather(*(fan.told.wait() for fan in crowd))


def _told(crowd: Sequence[_Fan]) -> Told:
    """A push may overtake the join's answer: that is a latency of nothing."""
    waits = array("d", (max(0.0, f.told_at - f.answered_at) for f in crowd if f.told_at and f.answered_at))
    return Told(
        listeners=len(crowd),
        told=len(waits),
        twice=sum(fan.times > 1 for fan in crowd),
        latencies=latencies(waits),
    )
