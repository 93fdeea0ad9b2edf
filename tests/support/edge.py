"""The edge on a real port, with a line in memory behind it: what is tested is HTTP, not the line."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from pydantic import SecretStr

from fairgate.config import Config
from fairgate.domain.session import SessionSigner
from fairgate.http import hot
from fairgate.http.app import create_app
from fairgate.http.connection import Connection
from fairgate.http.gate import Gate
from fairgate.http.headers import Headers
from fairgate.http.server import ApiServer
from fairgate.http.services import Services
from fairgate.users.limits import GuestLimit
from fairgate.users.sessions import Sessions
from fairgate.users.users import Users
from tests.support.memory import InboxInMemory, QueueInMemory, SessionStoreInMemory, TicketsInMemory, UserStoreInMemory

SERVICE, OPERATOR = "service-credential-of-the-tests", "operator-credential-of-the-tests"
ALLOWED = "https://shop.example"


def config(**settings: Any) -> Config:
    given: dict[str, Any] = {
        "service_token": SecretStr(SERVICE),
        "operator_token": SecretStr(OPERATOR),
        "allowed_origins": (ALLOWED,),
        "guest_rate_per_minute": 100_000,
    }
    return Config(**{**given, **settings})


def sessions(store: Any = None, **settings: Any) -> Sessions:
    return Sessions(store or SessionStoreInMemory(), SessionSigner(b"another key of the tests"), **settings)


def services(**parts: Any) -> Services:
    """In memory, unless `parts` says otherwise."""
    settings: Config = parts.pop("config", None) or config()
    given: dict[str, Any] = {
        "queue": QueueInMemory(),
        "lines": None,
        "tickets": TicketsInMemory(),
        "inbox": InboxInMemory(),
        "sessions": sessions(),
        "users": Users(UserStoreInMemory()),  # type: ignore[arg-type]
        "ready": dict,
    }
    return Services(
        config=settings,
        gate=Gate(settings),
        headers=Headers(settings),
        guests=GuestLimit(settings.guest_rate_per_minute),
        **{**given, **parts},
    )


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes
    raw: list[tuple[str, str]] = field(default_factory=list)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Wire:
    """One connection, so that a test decides what comes in one packet."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def reply(self, within_s: float = 30.0, head_only: bool = False) -> Reply:
        async with asyncio.timeout(within_s):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            raw = [(name.lower(), value) for name, _, value in (row.partition(": ") for row in head[1:-2])]
            headers = dict(raw)
            body = b"" if head_only else await self.reader.readexactly(int(headers.get("content-length", "0")))
            return Reply(int(head[0].split(" ")[1]), headers, body, raw)

    async def ended(self, within_s: float = 30.0) -> bool:
        async with asyncio.timeout(within_s):
            return await self.reader.read() == b""

    def close(self) -> None:
        self.writer.close()


def comparable(reply: Reply) -> tuple[object, ...]:
    """All that is the same whoever answers, and when."""
    headers = sorted((name, value) for name, value in reply.raw if name != "date")
    return reply.status, headers, reply.body


def request(
    method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None, version: str = "1.1"
) -> bytes:
    """As a client puts it on the wire. A body is JSON unless `headers` says otherwise."""
    head = {"host": "fairgate.test"}
    if body is not None:
        head |= {"content-type": "application/json", "content-length": str(len(body))}
    head |= headers or {}
    rows = "".join(f"{name}: {value}\r\n" for name, value in head.items() if value)
    return f"{method} {path} HTTP/{version}\r\n{rows}\r\n".encode("latin-1") + (body or b"")


class Edge:
    def __init__(self, services: Services, server: ApiServer) -> None:
        self.services, self.server = services, server

    async def wire(self) -> Wire:
        return Wire(*await asyncio.open_connection("127.0.0.1", self.server.port))

    async def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None, token: str = ""
    ) -> Reply:
        """One request on a connection of its own."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        named = dict(headers or {})
        if token:
            named["authorization"] = f"Bearer {token}"
        wire = await self.wire()
        try:
            wire.send(request(method, path, data, named))
            return await wire.reply(head_only=method == "HEAD")
        finally:
            wire.close()

    async def guest(self) -> dict[str, str]:
        reply = await self.ask("POST", "/users/sessions")
        assert reply.status == 201, reply
        return dict(reply.json)


@asynccontextmanager
async def edge(services: Services, *, hot_lane: bool) -> AsyncIterator[Edge]:
    protocol = hot.protocol(services) if hot_lane else Connection
    server = ApiServer(create_app(services), host="127.0.0.1", port=0, protocol=protocol)
    await services.sessions.refresh()
    await server.start()
    try:
        yield Edge(services, server)
    finally:
        await server.stop()


def queue_of(way: Edge) -> QueueInMemory:
    queue = way.services.queue
    assert isinstance(queue, QueueInMemory)
    return queue
