"""A good client: patient with what passes, honest about what it does not know, and no longer than told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from fairgate.crowd.http import Http
from fairgate.crowd.site import Refused, Site

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def site_of(handler: Handler) -> AsyncIterator[Site]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        tcp = web.TCPSite(runner, "127.0.0.1", 0)
        await tcp.start()
        port = runner.addresses[0][1]
        async with Http(f"http://127.0.0.1:{port}", 8) as http:
            yield Site(http)
    finally:
        await runner.cleanup()


def answers(*statuses: int | None) -> Handler:
    """One status for each request, the last for all that follow; None cuts the connection."""
    left = list(statuses)

    async def handler(request: web.Request) -> web.StreamResponse:
        status = left.pop(0) if len(left) > 1 else left[0]
        if status is None:
            assert request.transport is not None
            request.transport.abort()
            await asyncio.sleep(1.0)
        return web.json_response({"token": request.headers.get("authorization")}, status=status or 200)

    return handler


async def test_an_answer_that_passes_is_asked_for_again() -> None:
    async with site_of(answers(503, 429, 200)) as site:
        answer = await site.post("/queue/join", {"eventId": "e"}, "t")
    assert answer.body == {"token": "Bearer t"}
    assert answer.unknowns == 0
    assert site.trouble == {"HTTP 503": 1, "HTTP 429": 1}


async def test_a_cut_connection_is_an_unknown_outcome() -> None:
    async with site_of(answers(None, 200)) as site:
        answer = await site.post("/queue/join", {"eventId": "e"}, "t")
    assert answer.unknowns == 1
    assert answer.invoked_at < answer.answered_at - 0.1  # from before the first try


async def test_an_answer_that_stays_is_not_asked_for_again() -> None:
    async with site_of(answers(403)) as site:
        with pytest.raises(Refused, match="403"):
            await site.get("/queue/position?eventId=e", "t")
    assert site.requests == 1


async def test_retry_after_is_respected() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        if site.requests == 1:
            return web.json_response({}, status=503, headers={"retry-after": "1"})
        return web.json_response({})

    async with site_of(handler) as site:
        answer = await site.get("/")
    assert answer.answered_at - answer.invoked_at >= 0.7
