"""The crowd's HTTP: connections are used again, and what happened is told apart from what may have happened."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from fairgate.crowd import http as crowd_http
from fairgate.crowd.http import Http, NobodyThere

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nRetry-After: 3\r\n\r\nok"


@asynccontextmanager
async def served(serve: Serve, connections: int = 4) -> AsyncIterator[Http]:
    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await serve(reader, writer)
        writer.close()

    server = await asyncio.start_server(one, "127.0.0.1", 0)
    try:
        port = server.sockets[0].getsockname()[1]
        async with Http(f"http://127.0.0.1:{port}", connections) as http:
            yield http
    finally:
        server.close()


class Site:
    """Answers each request on every connection with `answer`; `seen` has (connection, request head)."""

    def __init__(self, *parts: bytes) -> None:
        self._parts, self.seen, self._connections = parts, list[tuple[int, bytes]](), 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        number = self._connections
        while head := await self._head(reader):
            self.seen.append((number, head))
            for part in self._parts:
                writer.write(part)
                await asyncio.sleep(0)

    async def _head(self, reader: asyncio.StreamReader) -> bytes:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return b""
        length = next((line[15:] for line in head.split(b"\r\n") if line.startswith(b"content-length:")), b"0")
        return head + await reader.readexactly(int(length))


async def test_one_after_the_other_uses_one_connection() -> None:
    site = Site(OK)
    async with served(site) as http:
        replies = [await http.ask("GET", "/a", {}), await http.ask("POST", "/b", {"x": "1"}, b"{}")]
    assert [(reply.status, reply.body, reply.headers["retry-after"]) for reply in replies] == [(200, b"ok", "3")] * 2
    assert [number for number, _ in site.seen] == [1, 1]
    assert site.seen[1][1].startswith(b"POST /b HTTP/1.1\r\nhost: 127.0.0.1:")
    assert site.seen[1][1].endswith(b"x: 1\r\ncontent-length: 2\r\n\r\n{}")


async def test_no_more_connections_are_made_than_allowed() -> None:
    site = Site(OK)
    async with served(site, connections=2) as http:
        await asyncio.gather(*(http.ask("GET", f"/{n}", {}) for n in range(20)))
    assert {number for number, _ in site.seen} == {1, 2}


async def test_an_answer_in_pieces_is_put_together() -> None:
    chunked = (b"HTTP/1.1 200 OK\r\ntransfer-", b"encoding: chunked\r\n\r\n3\r\nabc\r\n", b"2\r\nde\r\n0\r\n\r\n")
    async with served(Site(*chunked)) as http:
        assert (await http.ask("GET", "/", {})).body == b"abcde"


async def test_a_connection_that_the_site_ends_is_not_used_again() -> None:
    site = Site(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
    async with served(site) as http:
        for _ in range(2):
            assert (await http.ask("GET", "/", {})).status == 200
    assert [number for number, _ in site.seen] == [1, 2]


async def test_where_nobody_listens_nothing_was_asked() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        async with Http(f"http://127.0.0.1:{nobody.getsockname()[1]}", 1) as http:
            with pytest.raises(NobodyThere):
                await http.ask("GET", "/", {})


async def test_a_connection_that_ends_before_the_answer_leaves_open_what_happened() -> None:
    async def cuts(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")

    async with served(cuts) as http:
        with pytest.raises(ConnectionResetError):
            await http.ask("GET", "/", {})


async def test_what_is_no_http_is_an_error_and_no_answer() -> None:
    async with served(Site(b"SSH-2.0-OpenSSH\r\n")) as http:
        with pytest.raises(ConnectionError, match="no HTTP"):
            await http.ask("GET", "/", {})


async def test_a_late_answer_is_not_taken_for_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crowd_http, "ANSWER_S", 0.2)
    asked = asyncio.Event()

    async def slow_at_first(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        late = not asked.is_set()
        await reader.readuntil(b"\r\n\r\n")
        if late:
            asked.set()
            await asyncio.sleep(0.5)
        writer.write(OK.replace(b"ok", b"NO") if late else OK)

    async with served(slow_at_first) as http:
        with pytest.raises(TimeoutError):
            await http.ask("GET", "/", {})
        assert (await http.ask("GET", "/", {})).body == b"ok"
