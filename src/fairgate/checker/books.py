"""What SQL, Kafka and Valkey hold in the end, read by clients of their own. Nothing is judged here."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import aiosql
import asyncpg
import msgspec

from fairgate.checker.line import Claim, LineBook, read_line
from fairgate.checker.log import DeadLetter, Log, Logged, read_log
from fairgate.config import Config
from fairgate.stores.valkey import client

READ_S = 60.0

__all__ = ["Admission", "Book", "Books", "Claim", "Departure", "InboxRow", "LineBook", "Ticket", "connect", "read"]


class Admission(msgspec.Struct, frozen=True):
    user_id: str
    sequence: int
    number: int
    source: str
    at: float


class Departure(msgspec.Struct, frozen=True):
    user_id: str
    sequence: int
    reason: str


class Ticket(msgspec.Struct, frozen=True):
    """`settled_by` names the record that made it: `<topic id>-<partition>@<offset>`, or the API's call."""

    ticket_id: str
    user_id: str
    sequence: int
    number: int
    status: str
    at: float
    settled_by: str = ""

    @property
    def live(self) -> bool:
        return self.status in ("pending", "confirmed")


class InboxRow(msgspec.Struct, frozen=True):
    user_id: str
    id: str
    kind: str
    ticket_id: str | None
    seen: bool
    at: float


class Stock(msgspec.Struct, frozen=True, kw_only=True):
    """The line's row with its inventory and tallies. `unsent`: messages of this event that Kafka does not have."""

    capacity: int | None
    reserved: int
    next_number: int
    issued: int
    confirmed: int
    cancelled: int
    expired: int
    rate: float
    burst: int
    state: str
    generation: int
    unsent: int = 0


class Book(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """One event. Times are SQL's, in epoch seconds. `log` is in the order of each partition."""

    event_id: str
    stock: Stock
    admissions: list[Admission]
    departures: list[Departure]
    tickets: list[Ticket]
    inbox: list[InboxRow]
    log: list[Logged]
    line: LineBook = LineBook()

    @property
    def live_tickets(self) -> list[Ticket]:
        return [ticket for ticket in self.tickets if ticket.live]


class Books(msgspec.Struct, frozen=True, kw_only=True):
    """All events of a run, and what belongs to none: dead letters, and how often each topic's records were raw.

    `raw` counts every record that ever came into a topic, `aborted` those among them that no reader is given.
    """

    events: dict[str, Book]
    dead: list[DeadLetter] = []
    raw: dict[str, int] = {}
    aborted: dict[str, int] = {}

    @property
    def all(self) -> list[Book]:
        return list(self.events.values())


@cache
def queries() -> Any:
    return aiosql.from_path(Path(__file__).with_name("queries.sql"), "asyncpg", mandatory_parameters=False)


async def connect(config: Config) -> asyncpg.Connection[asyncpg.Record]:
    """Apart from all pools. Raises `OSError`, `asyncpg.PostgresError`."""
    assert config.postgres_dsn is not None
    return await asyncpg.connect(config.postgres_dsn.get_secret_value(), timeout=10.0, command_timeout=READ_S)


async def read(config: Config, event_ids: Sequence[str]) -> Books:
    """All of it. The system should be quiet. Raises `Unavailable` when Kafka or Valkey does not answer in time."""
    assert config.valkey_url is not None
    log = asyncio.create_task(asyncio.to_thread(read_log, config, frozenset(event_ids)))
    valkey, sql = client(config.valkey_url), await connect(config)
    try:
        found = await log
        events = {event_id: await _book(sql, valkey, event_id, found) for event_id in event_ids}
    finally:
        await sql.close()
        await valkey.aclose()
    return Books(events=events, dead=found.dead, raw=found.raw, aborted=found.aborted)


async def _book(sql: asyncpg.Connection[asyncpg.Record], valkey: Any, event_id: str, log: Log) -> Book:
    stock = await queries().stock(sql, event_id=event_id)
    return Book(
        event_id=event_id,
        stock=Stock(**dict(stock)),
        admissions=await _rows(Admission, queries().admissions(sql, event_id=event_id)),
        departures=await _rows(Departure, queries().departures(sql, event_id=event_id)),
        tickets=await _rows(Ticket, queries().tickets(sql, event_id=event_id)),
        inbox=await _rows(InboxRow, queries().inbox(sql, event_id=event_id)),
        log=log.of(event_id),
        line=await read_line(valkey, event_id),
    )


async def _rows(kind: type[Any], rows: Any) -> list[Any]:
    return [kind(*row.values()) async for row in rows]
