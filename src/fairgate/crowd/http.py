"""HTTP as a crowd speaks it: keep-alive connections to one site, each with at most one request in the air.

A whole crowd lives in one process beside the servers that it visits. A library's client costs a core for the crowd that
this one carries with a tenth of it; the answers are read by the parser that uvicorn uses as well.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import httptools
import msgspec

# Who waits for a free connection has asked for nothing yet: only the site's own silence is bounded.
ANSWER_S = 10.0


class NobodyThere(OSError):
    """There was no connection: nothing was asked."""


class Reply(msgspec.Struct, frozen=True):
    """`headers` with names in lower case; of one that comes twice the last."""

    status: int
    headers: dict[str, str]
    body: bytes


class Http:
    """`async with Http(base, connections) as http`. Connections are shared by all who ask, as through any proxy."""

    def __init__(self, base: str, connections: int) -> None:
        parts = urlsplit(base)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._free = asyncio.Semaphore(connections)
        self._idle: list[_Connection] = []

    async def __aenter__(self) -> Http:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """At once. Who waits for an answer hears that the connection ended."""
        while self._idle:
            self._idle.pop().close()

    async def ask(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None = None) -> Reply:
        """Raises `NobodyThere`; any other `OSError` and `TimeoutError` (after `ANSWER_S`) leave open what happened."""
        request = self._request(method, path, headers, body)
        async with self._free:
            connection = await self._connection()
            try:
                async with asyncio.timeout(ANSWER_S):
                    reply = await connection.ask(request)
            except BaseException:
                connection.close()  # an answer that comes late must not be taken for the next one
                raise
            if connection.usable:
                self._idle.append(connection)
            return reply

    async def _connection(self) -> _Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(ANSWER_S):
                _, connection = await loop.create_connection(_Connection, self._host, self._port)
        except (OSError, TimeoutError) as error:
            raise NobodyThere(str(error)) from error
        return connection

    def _request(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None) -> bytes:
        given = {"host": f"{self._host}:{self._port}", **headers}
        if body is not None or method == "POST":
            given["content-length"] = str(len(body or b""))
        head = "".join(f"{name}: {value}\r\n" for name, value in given.items())
        return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + (body or b"")


class _Connection(asyncio.Protocol):
    """The parser calls back by the names of its own events: `on_…`."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._transport: Any = None
        self._answer: asyncio.Future[Reply] | None = None
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._ended = False

    @property
    def usable(self) -> bool:
        return not self._ended and self._answer is None

    async def ask(self, request: bytes) -> Reply:
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        try:
            return await self._answer
        finally:
            self._answer = None

    def close(self) -> None:
        self._ended = True
        self._transport.abort()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._end(ConnectionError(f"no HTTP: {error}"))
            self.close()

    def connection_lost(self, error: Exception | None) -> None:
        self._end(error if isinstance(error, OSError) else ConnectionResetError("the connection ended"))

    def _end(self, error: OSError) -> None:
        self._ended = True
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)

    # ---- the parser's

    def on_message_begin(self) -> None:
        self._headers, self._body = {}, []

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        self._ended = self._ended or not self._parser.should_keep_alive()
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(Reply(self._parser.get_status_code(), self._headers, b"".join(self._body)))
