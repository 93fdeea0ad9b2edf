"""A fan's live connection: a real Socket.IO client that acknowledges everything and comes back whenever it is cut."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine
from typing import Any

import aiohttp
import socketio

BACKOFF_FIRST_S, BACKOFF_MAX_S = 0.3, 3.0
CONNECT_S = 10.0
# The library waits for what it had queued, also when nobody sends it any more.
HANG_UP_S = 1.0

# Of every connection that is cut the library tells the terminal; here they are cut all the time.
logging.getLogger("engineio.client").setLevel(logging.CRITICAL)

Told = Callable[[dict[str, Any]], None]


class Listener:
    """`run` until cancelled; `hear` gets the payload of every notification, each time that it comes."""

    def __init__(self, url: str, token: str, event_id: str, http: aiohttp.ClientSession, hear: Told) -> None:
        self._url, self._http, self._hear = url, http, hear
        self._auth = {"token": token, "eventId": event_id}
        self._client: Any = None
        self._cut = asyncio.Event()
        self._stay_away_s = 0.0

    async def run(self) -> None:
        pause_s = BACKOFF_FIRST_S
        try:
            while True:
                if await self._connected():
                    pause_s = BACKOFF_FIRST_S
                    await self._cut.wait()
                await self._hang_up(abort=True)
                await asyncio.sleep(self._stay_away_s + pause_s * random.uniform(0.7, 1.3))
                self._stay_away_s, pause_s = 0.0, min(pause_s * 2, BACKOFF_MAX_S)
        finally:
            await self._hang_up(abort=False)

    @property
    def state(self) -> str:
        return "socket " + ("away" if self._client is None else str(self._client.eio.state))

    async def drop(self, away_s: float) -> None:
        """Lose the network for a while, whatever is on its way."""
        self._stay_away_s = away_s
        await self._hang_up(abort=True)
        self._cut.set()

    async def _connected(self) -> bool:
        self._cut.clear()
        client = self._client = socketio.AsyncClient(
            reconnection=False,  # ours above also comes back from a connection that never was
            http_session=self._http,
            handle_sigint=False,
        )
        client.on("*", self._event)
        client.on("disconnect", self._disconnected)
        await _apart(
            client.connect(self._url, auth=self._auth, transports=["websocket"], wait_timeout=CONNECT_S), CONNECT_S
        )
        if self._client is not client:  # dropped meanwhile: the library may have connected all the same
            await _hang_up(client, abort=True)
            return False
        # Where the end comes together with the welcome, `connect` returns as if all were well, and no event follows.
        return bool(client.connected and client.eio.state == "connected")

    async def _hang_up(self, *, abort: bool) -> None:
        """And wait until all that was queued is sent, or at once."""
        client, self._client = self._client, None
        if client is not None:
            await _hang_up(client, abort=abort)

    async def _event(self, name: str, payload: Any = None) -> bool:
        """What is returned is the acknowledgement."""
        if not name.startswith("queue:") and isinstance(payload, dict):
            self._hear(payload)
        return True

    async def _disconnected(self, *_: object) -> None:
        self._cut.set()


async def _hang_up(client: Any, *, abort: bool) -> None:
    await _apart(client.eio.disconnect(abort=True) if abort else client.disconnect(), HANG_UP_S)


async def _apart(work: Coroutine[Any, Any, None], within_s: float) -> None:
    """In a task of its own: a wait of the library's loses a cancellation that comes together with what it waits for.

    It may fail in any way, or take too long: the connection is gone then, which the caller sees.
    """
    task = asyncio.create_task(work)
    try:
        await asyncio.wait({task}, timeout=within_s)
    finally:
        task.cancel()
        task.add_done_callback(_forget)


def _forget(task: asyncio.Task[None]) -> None:
    """An exception that nobody asks for would be told to the terminal."""
    if not task.cancelled():
        task.exception()
