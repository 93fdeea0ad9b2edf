"""What the edge needs of the stages, as protocols: routes are written and tested against these."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, TypeAlias

from fairgate.config import Config
from fairgate.domain.line import Line, LineState
from fairgate.domain.place import Place, PlaceSigner
from fairgate.domain.ticket import Ticket
from fairgate.errors import FairgateError
from fairgate.http.gate import Gate
from fairgate.http.headers import Headers
from fairgate.http.health import Readiness
from fairgate.users.limits import GuestLimit
from fairgate.users.sessions import Sessions
from fairgate.users.users import Users

Answer: TypeAlias = Callable[[Place | FairgateError], None]


class PublicBoard(Protocol):
    """F3. `steps` are (sequence, rank) pairs; `remaining` None is unlimited."""

    @property
    def line(self) -> Line: ...
    @property
    def size(self) -> int: ...
    @property
    def serving(self) -> int: ...
    @property
    def remaining(self) -> int | None: ...
    @property
    def steps(self) -> list[tuple[int, int]]: ...
    @property
    def recovering(self) -> bool: ...
    @property
    def bound(self) -> str: ...


class Queue(Protocol):
    """`join` and `position` answer exactly once, maybe before they return."""

    signer: PlaceSigner

    def join(self, event_id: str, user_id: str, answer: Answer, place_token: str | None = ...) -> None: ...
    def position(self, event_id: str, user_id: str, answer: Answer) -> None: ...
    def line(self, event_id: str) -> Line: ...
    async def leave(self, event_id: str, user_id: str) -> Place: ...
    def board(self, event_id: str) -> Awaitable[PublicBoard]: ...


class Lines(Protocol):
    async def create(
        self,
        event_id: str,
        *,
        title: str = ...,
        rate: float = ...,
        burst: int | None = ...,
        capacity: int | None = ...,
        hold_s: int | None = ...,
        state: LineState = ...,
        opens_at: datetime | None = ...,
    ) -> Line: ...
    async def change(self, event_id: str, **settings: Any) -> Line: ...
    async def get(self, event_id: str) -> Line: ...
    async def list(self) -> list[Line]: ...
    async def open(self, event_id: str) -> Line: ...
    async def pause(self, event_id: str) -> Line: ...
    async def close(self, event_id: str) -> Line: ...
    async def sell_out(self, event_id: str) -> Line: ...


class Tickets(Protocol):
    """`owner` None is a service, which may see every ticket."""

    async def issue(
        self, user_id: str, event_id: str, idempotency_key: str | None, caller: str
    ) -> tuple[Ticket, bool]: ...
    async def confirm(self, ticket_id: str, owner: str | None) -> Ticket: ...
    async def cancel(self, ticket_id: str, owner: str | None) -> Ticket: ...
    async def get(self, ticket_id: str, owner: str | None) -> Ticket: ...
    async def of_user(self, user_id: str) -> list[Ticket]: ...


class InboxItem(Protocol):
    @property
    def id(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def payload(self) -> dict[str, Any]: ...
    @property
    def created_at(self) -> datetime: ...
    @property
    def seen_at(self) -> datetime | None: ...
    @property
    def cursor(self) -> str: ...


class Inbox(Protocol):
    def list(self, user_id: str, after: str | None = ..., limit: int = ...) -> Awaitable[Sequence[InboxItem]]: ...
    async def seen(self, user_id: str, id: str) -> bool: ...


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that a route may touch. `gate`, `headers` and `guests` follow from the settings."""

    config: Config
    queue: Queue
    lines: Lines
    tickets: Tickets
    inbox: Inbox
    sessions: Sessions
    users: Users
    ready: Readiness
    gate: Gate
    headers: Headers
    guests: GuestLimit
