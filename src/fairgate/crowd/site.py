"""The web site as a good client sees it: patient, polite, and exact about what it does not know."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from typing import Any

import aiohttp
import msgspec

from fairgate.crowd.http import ANSWER_S, Http, NobodyThere

BACKOFF_FIRST_S, BACKOFF_MAX_S = 0.2, 3.0
# Come back later. 404 and 409 are among them: a process that has just started may not know the event yet.
LATER = frozenset({404, 409, 425, 429, 500, 502, 503, 504})

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


class Refused(Exception):
    """An answer that will be the same next time."""


class Answer(msgspec.Struct, frozen=True):
    """The answer that counts, and what came before it."""

    invoked_at: float
    answered_at: float
    unknowns: int
    body: Any


class Site:
    """One shop for all fans. Who asks is in the token."""

    def __init__(self, http: Http) -> None:
        self._http = http
        self.requests = 0
        self.trouble: Counter[str] = Counter()

    async def get(self, path: str, token: str | None = None) -> Answer:
        return await self._answered("GET", path, token, None)

    async def post(self, path: str, body: Any = None, token: str | None = None) -> Answer:
        return await self._answered("POST", path, token, body)

    async def _answered(self, method: str, path: str, token: str | None, body: Any) -> Answer:
        """Try until there is an answer; only the caller's patience ends it. Raises `Refused`."""
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        data = None
        if body is not None:
            headers["content-type"], data = "application/json", _encode(body)
        invoked_at, unknowns, pause_s = time.monotonic(), 0, BACKOFF_FIRST_S
        while True:
            wait_s = 0.0
            try:
                status, content, wait_s = await self._once(method, path, headers, data)
                if status < 300:
                    return Answer(invoked_at, time.monotonic(), unknowns, _decode(content) if content else None)
                if status not in LATER:
                    raise Refused(f"{method} {path.partition('?')[0]}: {status} {content[:200]!r}")
                self.trouble[f"HTTP {status}"] += 1
            except NobodyThere:  # nothing happened
                self.trouble["no connection"] += 1
            except (TimeoutError, OSError) as error:
                unknowns += 1
                self.trouble[f"no answer ({type(error).__name__})"] += 1
            await asyncio.sleep(max(wait_s, pause_s) * random.uniform(0.7, 1.3))
            pause_s = min(pause_s * 2, BACKOFF_MAX_S)

    async def _once(
        self, method: str, path: str, headers: dict[str, str], data: bytes | None
    ) -> tuple[int, bytes, float]:
        """Status, body, and for how many seconds the site wants to be left alone."""
        self.requests += 1
        reply = await self._http.ask(method, path, headers, data)
        return reply.status, reply.body, _seconds(reply.headers.get("retry-after", ""))


def _seconds(retry_after: str) -> float:
    return min(float(retry_after), 15.0) if retry_after.isdigit() else 0.0


def sockets() -> aiohttp.ClientSession:
    """For the crowd's live connections: as many as are asked for."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=ANSWER_S),
        cookie_jar=aiohttp.DummyCookieJar(),  # a fan is its token; a shared cookie would make all of them one
    )
