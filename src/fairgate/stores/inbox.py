"""The inbox in SQL: what users were or will be told. Its id makes a repeat harmless.

The order is (tx, seq): the id of the inserting transaction, then the row. A sequence alone would not do: its numbers
are given out before the commit, so a reader that asks for "newer than" would skip who commits late. A page therefore
ends at the oldest transaction that is still running.

That the owner of a ticket was told is a row of another table, with the ticket's key. It has no payload: the ticket says
all of it, and the words are put together for who reads them, in the language that they have then. The view `inbox` has
the rows of both.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import asyncpg
import msgspec

from fairgate.domain.ids import is_ticket_id
from fairgate.domain.messages import TicketIssued
from fairgate.domain.words import DEFAULT_LOCALE, words
from fairgate.errors import InvalidRequest
from fairgate.stores.database import Database, lines_of

_CURSOR = re.compile(r"([0-9]{1,19})-([0-9]{1,18})", re.ASCII)
_START = ("0", 0)

TICKET_ISSUED = "ticket:issued"
# Ids of our own facts. A foreign message with such an id would take the place of the real one in the inbox.
RESERVED_PREFIX = "issued:"


_encoder = msgspec.json.Encoder()


class Name(NamedTuple):
    """What names a row, among those of its user."""

    user_id: str
    id: str

    @property
    def ticket_id(self) -> str | None:
        """Of a ticket's row."""
        named = self.id.removeprefix(RESERVED_PREFIX)
        return named if named != self.id and is_ticket_id(named) else None


class Note(NamedTuple):
    """A row to add. `payload` is the JSON document that the client gets."""

    user_id: str
    id: str
    kind: str
    payload: bytes

    @property
    def name(self) -> Name:
        return Name(self.user_id, self.id)


class InboxItem(msgspec.Struct, frozen=True, kw_only=True):
    """A row, with what its ticket says by now. `cursor` is the reader's place behind it."""

    id: str
    kind: str
    payload: dict[str, Any]
    created_at: datetime
    seen_at: datetime | None
    cursor: str


class Owned(NamedTuple):
    """An item and whose it is."""

    user_id: str
    item: InboxItem


class Added(NamedTuple):
    """Which notes are new, and which SQL can never hold (bad characters, say) with the reason."""

    new: set[Name]
    refused: list[tuple[Note, str]]


class TicketPayload(msgspec.Struct, frozen=True, gc=False, kw_only=True, rename="camel"):
    """What a client gets of its ticket. `timestamp` is epoch milliseconds."""

    id: str
    kind: str
    ticket_id: str
    event_id: str
    user_id: str
    number: int
    sequence: int
    status: str
    timestamp: int
    title: str
    body: str


def note_of_ticket(ticket: TicketIssued, locale: str) -> Note:
    """What its owner gets."""
    text = words(TICKET_ISSUED, locale, event=ticket.event_id, number=ticket.number)
    assert text is not None
    payload = TicketPayload(
        id=ticket.message_id,
        kind=TICKET_ISSUED,
        ticket_id=ticket.ticket_id,
        event_id=ticket.event_id,
        user_id=ticket.user_id,
        number=ticket.number,
        sequence=ticket.sequence,
        status=ticket.status,
        timestamp=ticket.timestamp,
        title=text.title,
        body=text.body,
    )
    return Note(ticket.user_id, payload.id, TICKET_ISSUED, _encoder.encode(payload))


class InboxStore:
    """Raises `Unavailable`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._q = database.queries

    async def add(self, notes: Sequence[Note]) -> Added:
        """Keep them all, in one statement. What SQL refuses as data is set aside with its reason, alone."""
        if not notes:
            return Added(set(), [])
        try:
            return Added(await self._insert(notes), [])
        except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError) as error:
            if len(notes) == 1:
                return Added(set(), [(notes[0], str(error))])
        half = len(notes) // 2
        first, second = await self.add(notes[:half]), await self.add(notes[half:])
        return Added(first.new | second.new, first.refused + second.refused)

    async def add_issued(self, tickets: Sequence[TicketIssued]) -> bool:
        """Keep the row of each ticket, in one statement; in the order of their ids.

        → whether all are kept now. Otherwise none is: one was kept before, is unknown, not as said or changed since, or
        SQL refuses its data.
        """
        try:
            async with self._database.connection() as connection:
                kept: bool = await self._q.keep_issued(
                    connection,
                    ids=[ticket.ticket_id for ticket in tickets],
                    users=lines_of([ticket.user_id for ticket in tickets]),
                    events=lines_of([ticket.event_id for ticket in tickets]),
                    sequences=[ticket.sequence for ticket in tickets],
                    numbers=[ticket.number for ticket in tickets],
                    statuses=lines_of([ticket.status for ticket in tickets]),
                    timestamps=[ticket.timestamp for ticket in tickets],
                )
        except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError):
            return False
        return kept

    async def _insert(self, notes: Sequence[Note]) -> set[Name]:
        messages = [note for note in notes if note.name.ticket_id is None]
        async with self._database.connection() as connection:
            rows = await self._q.add_notifications(
                connection,
                **_columns([note.name for note in notes]),
                kinds=[note.kind for note in messages],
                payloads=[note.payload.decode() for note in messages],
            )
        return set(map(_name, rows))

    async def after(self, user_id: str, cursor: str | None, limit: int) -> list[InboxItem]:
        """At most `limit` rows behind the cursor, seen or not, oldest first. Raises `InvalidRequest` for a bad one."""
        tx, seq = parsed_cursor(cursor)
        async with self._database.connection() as connection:
            rows = await self._q.inbox_after(connection, user_id=user_id, tx=tx, seq=seq, limit=limit)
        return [owned.item for owned in await self._with_payloads(rows)]

    async def unseen(self, user_ids: Collection[str], each: int) -> list[Owned]:
        """The oldest unacknowledged rows, at most `each` per user. Sees every commit, also the latest."""
        async with self._database.connection() as connection:
            rows = await self._q.inbox_unseen(connection, user_ids=list(user_ids), each=each)
        return await self._with_payloads(rows)

    async def edge(self) -> str:
        """Where a sweep starts: nothing before it can still appear."""
        async with self._database.connection() as connection:
            return str(await self._q.inbox_edge(connection))

    async def since(self, edge: str, user_ids: Collection[str]) -> tuple[str, list[Owned]]:
        """The next edge, and these users' unseen rows in between: none is ever skipped, none comes twice."""
        async with self._database.connection() as connection:
            rows = await self._q.inbox_since(connection, tx=edge, user_ids=list(user_ids))
        return rows[0]["edge"], await self._with_payloads([row for row in rows if row["id"] is not None])

    async def seen_among(self, names: Collection[Name]) -> set[Name]:
        """Which of these somebody has acknowledged, here or elsewhere."""
        async with self._database.connection() as connection:
            return {_name(row) for row in await self._q.seen_among(connection, **_columns(names))}

    async def mark_seen(self, names: Collection[Name]) -> set[Name]:
        """Which of these exist: they are seen now. The first moment stays, so a repeat changes nothing."""
        async with self._database.connection() as connection:
            return {_name(row) for row in await self._q.mark_seen(connection, **_columns(names))}

    async def prune(self, older_than_days: int, limit: int) -> int:
        """Forget rows of that age, seen or not. → how many."""
        async with self._database.connection() as connection:
            return int(await self._q.prune_inbox(connection, days=older_than_days, limit=limit))

    async def tickets(self, ticket_ids: Collection[str]) -> dict[str, TicketIssued]:
        """Which of these tickets exist, by id (each a UUID in its usual form), with the status that they have now."""
        async with self._database.connection() as connection:
            rows = await self._q.issued_tickets(connection, ticket_ids=list(ticket_ids))
        return {row["ticket_id"]: TicketIssued(**dict(row)) for row in rows}

    async def notes_of(self, tickets: Collection[TicketIssued]) -> list[Note]:
        """What their owners get, each in the language of its owner."""
        locales = await self.locales({ticket.user_id for ticket in tickets})
        return [note_of_ticket(ticket, locales.get(ticket.user_id, DEFAULT_LOCALE)) for ticket in tickets]

    async def locales(self, user_ids: Collection[str]) -> dict[str, str]:
        """The languages of those who chose one."""
        async with self._database.connection() as connection:
            rows = await self._q.locales_of(connection, user_ids=list(user_ids))
        return {row["user_id"]: row["locale"] for row in rows}

    async def _with_payloads(self, rows: Sequence[asyncpg.Record]) -> list[Owned]:
        of_tickets = [row["id"].removeprefix(RESERVED_PREFIX) for row in rows if row["payload"] is None]
        notes = await self.notes_of((await self.tickets(of_tickets)).values()) if of_tickets else []
        said = {note.id: note.payload for note in notes}
        told = [(row, row["payload"] or said.get(row["id"])) for row in rows]
        # A ticket that somebody deleted says nothing any more.
        return [_owned(row, payload) for row, payload in told if payload is not None]


def parsed_cursor(cursor: str | None) -> tuple[str, int]:
    """Transaction and row; None is the beginning. Raises `InvalidRequest` for anything that we did not give out."""
    if cursor is None:
        return _START
    found = _CURSOR.fullmatch(cursor)
    if found is None:
        raise InvalidRequest("after must be a cursor that an earlier answer gave")
    return found[1], int(found[2])


def _columns(names: Collection[Name]) -> dict[str, list[str]]:
    """Messages and tickets apart, each in the order in which they come."""
    messages = [name for name in names if name.ticket_id is None]
    tickets = [(name.ticket_id, name.user_id) for name in names if name.ticket_id is not None]
    return {
        "user_ids": [name.user_id for name in messages],
        "ids": [name.id for name in messages],
        "ticket_ids": [ticket_id for ticket_id, _ in tickets],
        "owners": [user_id for _, user_id in tickets],
    }


def _name(row: asyncpg.Record) -> Name:
    return Name(row["user_id"], row["id"])


def _owned(row: asyncpg.Record, payload: str | bytes) -> Owned:
    item = InboxItem(
        id=row["id"],
        kind=row["kind"],
        payload=msgspec.json.decode(payload),
        created_at=row["created_at"],
        seen_at=row["seen_at"],
        cursor=f"{row['tx']}-{row['seq']}",
    )
    return Owned(row["user_id"], item)
