"""Socket.IO over WebSocket by hand, for many fans in one process: a library's client costs more than what is measured.

It speaks as much of Engine.IO 4 and Socket.IO 5 as a fan needs: the welcome, pings, events with and without an
acknowledgement.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

import aiohttp

from fairgate.bench.target import Target

CONNECTING_AT_ONCE = 32
ANSWER_S = 20.0

# The name of an event and its payload.
Hear = Callable[[str, Any], None]


class Socket:
    """One fan's connection. `hear` gets every event; those that want it are acknowledged."""

    def __init__(self, http: aiohttp.ClientSession, target: Target, user_id: str, hear: Hear) -> None:
        self._http, self._target, self.user_id, self._hear = http, target, user_id, hear
        self._socket: Any = None

    async def connect(self, event_id: str | None = None) -> None:
        """`event_id`: the line whose positions this fan wants to hear. Raises `TimeoutError`, `aiohttp.ClientError`."""
        at = self._target.live
        self._socket = await self._http.ws_connect(
            f"http://{at.host}:{at.port}/socket.io/?EIO=4&transport=websocket", max_msg_size=0
        )
        token = self._target.tokens.get(self.user_id)
        auth = {"token": token, "eventId": event_id} if event_id else {"token": token}
        async with asyncio.timeout(ANSWER_S):
            await self._message("0")
            await self._socket.send_str("40" + (json.dumps(auth) if token else ""))
            await self._message("40")
            if token is None:
                await self._socket.send_str("42" + json.dumps(["subscribe", self.user_id]))

    async def listen(self) -> None:
        """Until cancelled, or until the server hangs up (`TypeError`)."""
        while True:
            text = await self._message("42")
            start = text.index("[")
            name, *payload = json.loads(text[start:])
            self._hear(name, payload[0] if payload else None)
            if start > 2:  # it wants an acknowledgement
                await self._socket.send_str(f"43{text[2:start]}[true]")

    async def _message(self, wanted: str) -> str:
        """The next message of this kind; pings are answered meanwhile."""
        while True:
            text = str(await self._socket.receive_str())
            if text == "2":
                await self._socket.send_str("3")
            elif text.startswith(wanted):
                return text


def session() -> aiohttp.ClientSession:
    """Without a limit of connections. The caller closes it."""
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))


async def connect_all(sockets: Sequence[Socket], event_id: str | None = None) -> list[asyncio.Task[None]]:
    """Some at a time. → their listening, for `end`."""
    gate, ears = asyncio.Semaphore(CONNECTING_AT_ONCE), []

    async def connect(socket: Socket) -> None:
        async with gate:
            await socket.connect(event_id)
        ears.append(asyncio.create_task(socket.listen()))

    await asyncio.gather(*(connect(socket) for socket in sockets))
    return ears


async def end(ears: Sequence[asyncio.Task[None]]) -> None:
    for ear in ears:
        ear.cancel()
    await asyncio.gather(*ears, return_exceptions=True)
