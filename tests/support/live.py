"""A live process for tests: real SQL and Valkey, a queue that says what the test says, sessions by name."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Sequence
from types import SimpleNamespace
from typing import Any

import msgspec
import socketio

from fairgate.domain.line import Line, LineState
from fairgate.domain.place import Place, PlaceSigner, Status
from fairgate.errors import NoSession, UnknownLine
from fairgate.http.live import LiveServer
from fairgate.http.live_http import LiveHttp
from fairgate.notification.channels import LiveChannel
from fairgate.notification.inbox import Inbox
from fairgate.stores.database import Database
from fairgate.stores.hints import written
from fairgate.stores.inbox import TICKET_ISSUED, InboxStore, Note
from fairgate.stores.presence import Presence
from fairgate.stores.valkey import client
from tests.conftest import Servers
from tests.support.ticketing import ticket_in_sql


def some_line(event_id: str, **changes: Any) -> Line:
    base: dict[str, Any] = {"version": 1, "generation": 1, "shard": 0, "state": LineState.OPEN, "title": ""}
    base |= {"rate": 10.0, "burst": 10, "capacity": None, "hold_s": None, "opens_at": None, "sold_out": False}
    return Line(event_id=event_id, **{**base, **changes})


class SaidQueue:
    """`places[user]` is what everybody is told; `calls` counts the questions per line."""

    def __init__(self) -> None:
        self.signer = PlaceSigner(b"k" * 32)
        self.lines: dict[str, Line] = {}
        self.places: dict[str, Place] = {}
        self.calls: list[tuple[str, int]] = []
        self.bound = "none"

    def line(self, event_id: str) -> Line:
        if event_id not in self.lines:
            raise UnknownLine()
        return self.lines[event_id]

    async def board(self, event_id: str) -> Any:
        size = len(self.places)
        return SimpleNamespace(recovering=False, line=self.line(event_id), size=size, bound=self.bound)

    async def positions(self, event_id: str, users: Sequence[str]) -> list[Place]:
        self.calls.append((event_id, len(users)))
        return [self.places.get(user, Place(Status.NONE)) for user in users]


class LiveProcess:
    """A `LiveServer` on a port of its own. Tokens are `token-<user id>`; those in `ended` are no session."""

    def __init__(self, servers: Servers, database: Database) -> None:
        self.queue = SaidQueue()
        self.ended: set[str] = set()
        self._database = database
        self.store = InboxStore(database)
        self.inbox = Inbox(self.store)
        self._valkey = client(servers.valkey_url)
        self.presence = Presence(self._valkey)
        self.server = LiveServer(
            servers.config,
            inbox=self.inbox,
            presence=self.presence,
            authenticate=self._authenticate,
            queue=self.queue,  # type: ignore[arg-type]
        )
        self.http = LiveHttp(self.server, host="127.0.0.1", port=0)
        self.clients: list[socketio.AsyncClient] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.port}"

    async def start(self) -> None:
        for service in reversed(self.server.services):
            await service.start()
        await self.http.start()

    async def stop(self) -> None:
        for one in self.clients:
            await one.shutdown()
        await self.http.stop()
        for service in self.server.services:
            await service.stop()
        await self._valkey.aclose()

    async def note(self, user_id: str, kind: str = TICKET_ISSUED) -> Note:
        """In the inbox, told to nobody; of a ticket that is in SQL, or a message of another kind."""
        if kind == TICKET_ISSUED:
            ticket = await ticket_in_sql(self._database, user_id, f"e-{uuid.uuid4().hex[:8]}")
            [note] = await self.store.notes_of([ticket])
        else:
            id = f"m-{uuid.uuid4().hex[:8]}"
            note = Note(user_id, id, kind, msgspec.json.encode({"id": id, "kind": kind, "userId": user_id}))
        await self.store.add([note])
        return note

    async def hint(self, note: Note) -> None:
        """As notification gives it."""
        await LiveChannel(self.presence).deliver([note.user_id], written([note]))

    async def connect(self, user_id: str, **options: Any) -> Heard:
        """A client of the library's own make; the official one is in the acceptance tests."""
        one = socketio.AsyncClient(reconnection=False, handle_sigint=False)
        self.clients.append(one)
        heard = Heard(one, acks=options.pop("acks", True))
        auth = {"token": f"token-{user_id}", **options.pop("auth", {})}
        await one.connect(self.url, auth=auth, wait_timeout=5, **options)
        return heard

    async def refused(self, auth: object) -> str:
        """Why nobody gets in like this: the message of the client's `connect_error`."""
        one = socketio.AsyncClient(reconnection=False, handle_sigint=False)
        reasons: list[Any] = []
        one.on("connect_error", reasons.append)
        with contextlib.suppress(socketio.exceptions.ConnectionError):
            await one.connect(self.url, auth=auth, wait_timeout=5)
        await one.shutdown()
        return str(reasons[-1]["message"])

    async def _authenticate(self, token: str) -> str:
        if not token.startswith("token-") or token in self.ended:
            raise NoSession()
        return token.removeprefix("token-")


class Heard:
    """What a client was told."""

    def __init__(self, client: socketio.AsyncClient, *, acks: bool) -> None:
        self.client = client
        self.events: list[tuple[str, Any]] = []
        self.gone = asyncio.Event()
        self._changed = asyncio.Event()
        for name in ("ticket:issued", "notification", "queue:position", "queue:state"):
            client.on(name, self._hearer(name, acks))
        client.on("disconnect", lambda *_: self.gone.set())

    def of(self, name: str) -> list[Any]:
        return [payload for event, payload in self.events if event == name]

    async def until(self, name: str, count: int = 1, within_s: float = 20.0) -> list[Any]:
        async with asyncio.timeout(within_s):
            while len(self.of(name)) < count:
                self._changed.clear()
                await self._changed.wait()
        return self.of(name)

    def _hearer(self, name: str, acks: bool) -> Any:
        async def hear(payload: Any) -> None:
            self.events.append((name, payload))
            self._changed.set()
            if not acks:
                await asyncio.Event().wait()  # never answers

        return hear


@contextlib.asynccontextmanager
async def live_process(servers: Servers) -> AsyncIterator[LiveProcess]:
    database = Database(servers.postgres_dsn, size=4)
    process = LiveProcess(servers, database)
    await process.start()
    try:
        yield process
    finally:
        await process.stop()
        await database.close()
