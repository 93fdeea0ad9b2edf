"""The demo's live client against a real WebSocket: cut at any moment, it comes back and hears what it was not told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from fairgate.crowd.listener import Listener
from fairgate.crowd.site import sockets

OPEN = "0" + json.dumps({"sid": "transport", "upgrades": [], "pingInterval": 25_000, "pingTimeout": 20_000})
WELCOME = "40" + json.dumps({"sid": "socket"})
NEWS = '421["ticket:issued",{"id":"issued:t","kind":"ticket:issued","ticketId":"t"}]'

Serve = Callable[[int, web.WebSocketResponse], Awaitable[None]]


@asynccontextmanager
async def live(serve: Serve) -> AsyncIterator[str]:
    """Speaks Socket.IO up to the welcome; then `serve(how many came before, socket)`, and the end of the socket."""
    came = 0

    async def handler(request: web.Request) -> web.WebSocketResponse:
        nonlocal came
        before, came = came, came + 1
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str(OPEN)
        await socket.receive()
        await serve(before, socket)
        return socket

    app = web.Application()
    app.router.add_get("/socket.io/", handler)
    runner = web.AppRunner(app, shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def listening(url: str) -> AsyncIterator[tuple[Listener, asyncio.Queue[dict[str, Any]]]]:
    heard: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    async with sockets() as http:
        listener = Listener(url, "token", "event", http, heard.put_nowait)
        task = asyncio.create_task(listener.run())
        try:
            yield listener, heard
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def tell(socket: web.WebSocketResponse) -> None:
    await socket.send_str(WELCOME)
    await socket.send_str(NEWS)
    await socket.receive()


async def heard_after_a_cut(cut: Serve) -> str:
    """The first connection ends as `cut` says; the next one brings the news."""

    async def serve(before: int, socket: web.WebSocketResponse) -> None:
        await (tell(socket) if before else cut(before, socket))

    async with live(serve) as url, listening(url) as (_, heard), asyncio.timeout(30):
        return str((await heard.get())["ticketId"])


async def test_an_end_that_comes_together_with_the_welcome_is_noticed() -> None:
    """The library's `connect` returns as if all were well then, and no event tells of the end."""

    async def cut(_: int, socket: web.WebSocketResponse) -> None:
        await socket.send_str(WELCOME)
        await socket.send_str("1")  # Engine.IO's goodbye

    assert await heard_after_a_cut(cut) == "t"


async def test_a_connection_that_breaks_is_made_again() -> None:
    async def cut(_: int, socket: web.WebSocketResponse) -> None:
        await socket.send_str(WELCOME)
        transport = socket._req.transport if socket._req else None
        assert transport is not None
        transport.abort()

    assert await heard_after_a_cut(cut) == "t"


async def test_who_is_sent_home_in_the_moment_of_the_welcome_goes() -> None:
    """The library's wait can take the welcome for an answer to a cancellation: such a fan stayed on for ever."""
    welcome = asyncio.Event()

    async def serve(_: int, socket: web.WebSocketResponse) -> None:
        await socket.send_str(WELCOME)
        welcome.set()
        await socket.receive()

    async with live(serve) as url, sockets() as http, asyncio.timeout(60):
        for turns in range(12):
            welcome.clear()
            listener = Listener(url, "token", "event", http, lambda _: None)
            run = asyncio.create_task(listener.run())
            await welcome.wait()
            for _ in range(turns):
                await asyncio.sleep(0)
            run.cancel()
            await asyncio.wait({run}, timeout=5.0)
            assert run.cancelled(), f"cancelled {turns} turns of the loop after the welcome, it went on"
