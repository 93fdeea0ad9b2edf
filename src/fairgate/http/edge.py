"""Around the framework: what holds for every request and answer, whatever the route.

In: size, media type, origin, time. Out: security headers, CORS, a problem document instead of a stack trace, a count.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, TypeAlias

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fairgate.errors import FairgateError, InvalidRequest, TooLarge, Unavailable, UnsupportedMedia
from fairgate.http.gate import cookie_of, is_json
from fairgate.http.headers import cors, preflight
from fairgate.http.problems import Rendered, render
from fairgate.http.services import Services
from fairgate.telemetry import REQUESTS

log = structlog.get_logger("fairgate.http")

# Longer than every bound of a store behind it, so that the store's own word is heard first.
REQUEST_S = 25.0
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
# Two of these, and two readers could each believe another one.
_ONCE = frozenset({b"authorization", b"content-type", b"cookie", b"host", b"origin"})

Head: TypeAlias = dict[bytes, bytes]


class Edge:
    """ASGI middleware. Bodies are read here, whole: the limit is small, and a route never waits for a slow one."""

    def __init__(self, app: ASGIApp, services: Services) -> None:
        self._app, self._services = app, services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, send, self._services)
        try:
            async with asyncio.timeout(REQUEST_S):
                await self._admit(exchange, receive)
        except FairgateError as error:
            await exchange.refuse(error)
        except TimeoutError:
            await exchange.refuse(Unavailable("this took too long"))
        except Exception as error:
            log.error("a request failed", method=scope["method"], route=exchange.route, exc_info=error)
            await exchange.refuse(FairgateError())
        finally:
            REQUESTS.observe(exchange.route, exchange.status, time.perf_counter() - exchange.began)

    async def _admit(self, exchange: _Exchange, receive: Receive) -> None:
        if exchange.is_preflight:
            await exchange.write(Rendered(204, preflight(exchange.origin), b""))
            return
        body = await self._body(exchange, receive)
        exchange.require_clear_head()
        if exchange.scope["method"] not in _SAFE:
            self._admit_change(exchange.head, body)
        await self._app(exchange.scope, _replay(body, receive), exchange.send)

    async def _body(self, exchange: _Exchange, receive: Receive) -> bytes:
        """Raises `TooLarge` for a declared and for a streamed one."""
        limit = self._services.config.body_limit_bytes
        declared = exchange.head.get(b"content-length", b"0")
        if len(declared) > 18 or int(declared) > limit:
            exchange.closes = True
            raise TooLarge(f"at most {limit} bytes")
        if declared == b"0" and b"transfer-encoding" not in exchange.head:
            return b""
        body = bytearray()
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                break
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > limit:
                exchange.closes = True
                raise TooLarge(f"at most {limit} bytes")
        return bytes(body)

    def _admit_change(self, head: Head, body: bytes) -> None:
        """A page of another site can send a form with our cookie, but not JSON, and not without its origin."""
        by_cookie = b"authorization" not in head and cookie_of(text(head, b"cookie")) is not None
        origin = text(head, b"origin") if b"origin" in head else None
        self._services.gate.admit_origin(origin, text(head, b"host"), by_cookie=by_cookie)
        if (body or by_cookie) and not is_json(text(head, b"content-type")):
            raise UnsupportedMedia()


class _Exchange:
    """One request and its answer."""

    def __init__(self, scope: Scope, send: Send, services: Services) -> None:
        self.scope, self._send, self._services = scope, send, services
        self.head: Head = dict(scope["headers"])
        self.began = time.perf_counter()
        self.status = 0
        self.closes = False
        origin = text(self.head, b"origin")
        self.origin = origin if origin and services.gate.foreign(origin) else ""

    @property
    def is_preflight(self) -> bool:
        return bool(self.origin) and self.scope["method"] == "OPTIONS" and b"access-control-request-method" in self.head

    @property
    def route(self) -> str:
        """The template of the route, never the path: a label must not grow with what people send."""
        return str(getattr(self.scope.get("route"), "path", "other"))

    def require_clear_head(self) -> None:
        """Raises `InvalidRequest` where a header that decides is there twice."""
        if len(self.head) != len(self.scope["headers"]):
            names = [name for name, _ in self.scope["headers"] if name in _ONCE]
            if len(names) != len(set(names)):
                raise InvalidRequest("a header is there twice")

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message = {**message, "headers": self._dressed(message["headers"])}
        await self._send(message)

    async def refuse(self, error: FairgateError) -> None:
        if not self.status:
            await self.write(render(error, text(self.head, b"accept-language")))

    async def write(self, answer: Rendered) -> None:
        await self.send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
        await self.send({"type": "http.response.body", "body": answer.body})

    def _dressed(self, given: Any) -> list[tuple[bytes, bytes]]:
        """The route's own headers first; where it said nothing of caching, nothing is kept."""
        headers = list(given)
        names = {name for name, _ in headers}
        is_page = any(name == b"content-type" and value.startswith(b"text/html") for name, value in headers)
        always = self._services.headers.page if is_page else self._services.headers.data
        headers += [(name, value) for name, value in always if name not in names]
        if b"cache-control" not in names:
            headers.append(self._services.headers.no_store)
        if self.origin:
            headers += cors(self.origin)
        if self.closes:
            headers.append((b"connection", b"close"))
        return headers


def _replay(body: bytes, receive: Receive) -> Receive:
    """The body that was read, once; then whatever the client does (going away)."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def text(head: Head, name: bytes) -> str:
    return head.get(name, b"").decode("latin-1")
