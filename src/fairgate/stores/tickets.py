"""Tickets in SQL. What became of a record or a request is a value; the rules behind it are `functions/settle.sql`,
`functions/issue.sql` and `functions/ticket_life.sql`.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, TypeAlias

import asyncpg
import msgspec

from fairgate.domain.ids import ticket_ids
from fairgate.domain.messages import TicketIssue
from fairgate.domain.ticket import Ticket, TicketStatus, may_become
from fairgate.errors import Conflict, FairgateError, KeyReused, NotFound, SoldOut
from fairgate.stores.database import Database, lines_of

# Who holds more tickets than this sees the newest.
TICKETS_SHOWN = 200


class Issued(msgspec.Struct, frozen=True, gc=False):
    """The ticket was made now."""

    ticket: Ticket


class SettledByThisRecord(msgspec.Struct, frozen=True, gc=False):
    """This very record made the ticket before: a crash came between SQL and Kafka."""

    ticket: Ticket


class SettledBefore(msgspec.Struct, frozen=True):
    """Another record, or the API, settled this admission."""


class UnknownAdmission(msgspec.Struct, frozen=True):
    """SQL knows no such admission: forged, or its database lost it."""


class Superseded(msgspec.Struct, frozen=True):
    """The user holds a live ticket of another admission; this one has been given back."""


Outcome: TypeAlias = Issued | SettledByThisRecord | SettledBefore | UnknownAdmission | Superseded


class Order(msgspec.Struct, frozen=True, gc=False):
    """One record that asks for a ticket. `source` names it for good: `<topic id>-<partition>@<offset>`."""

    issue: TicketIssue
    source: str


class DataRefused(FairgateError):
    """PostgreSQL cannot take this data (SQLSTATE class 22 or 23). In a batch, one record may be to blame for all."""

    kind, title = "data-refused", "The database refuses this data"


class TicketStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def settle(self, orders: Sequence[Order]) -> list[Outcome]:
        """One outcome per order, in order, all in one transaction. Raises `DataRefused`, `Unavailable`."""
        events, users = [order.issue.event_id for order in orders], [order.issue.user_id for order in orders]
        sources, ids = [order.source for order in orders], ticket_ids(len(orders))
        numbers = {
            "sequences": [order.issue.sequence for order in orders],
            "numbers": [order.issue.number for order in orders],
        }
        queries = self._database.queries
        async with self._database.connection() as connection:
            with _refusals():
                lines = {"users": lines_of(users), "sources": lines_of(sources)}
                issued = await queries.settle_all(connection, ids=ids, **_once_each(events), **lines, **numbers)
                if issued:
                    return _all_issued(orders, ids, issued)
                rows = await queries.settle(connection, events=events, users=users, sources=sources, **numbers)
            outcomes: list[Outcome] = [UnknownAdmission()] * len(orders)
            for row in rows:
                index = row["ordinal"] - 1
                outcomes[index] = _outcome(row, orders[index])
            for order, outcome in zip(orders, outcomes, strict=True):
                if isinstance(outcome, Superseded):
                    await self._release(connection, order)
        return outcomes

    async def _release(self, connection: object, order: Order) -> None:
        await self._database.queries.release_admission(
            connection,
            event_id=order.issue.event_id,
            user_id=order.issue.user_id,
            sequence=order.issue.sequence,
            source=order.source,
        )

    async def issue_direct(
        self, event_id: str, user_id: str, shard: int, key_hash: str | None = None, fingerprint: str | None = None
    ) -> tuple[Ticket, bool]:
        """The user's ticket and whether it was made now. `shard` is the user's, for the announcement.

        Raises `UnknownLine`, `SoldOut`, `KeyReused`, `Unavailable`.
        """
        async with self._database.connection() as connection:
            row = await self._database.queries.issue_direct(
                connection,
                event_id=event_id,
                user_id=user_id,
                shard=shard,
                key_hash=key_hash,
                fingerprint=fingerprint,
            )
        match row["outcome"]:
            case "key_reused":
                raise KeyReused()
            case "sold_out":
                raise SoldOut()
            case outcome:
                return _ticket(row), outcome == "created"

    async def move(self, ticket_id: str, owner: str | None, to: TicketStatus) -> tuple[Ticket, bool]:
        """The ticket and whether it moved now; a repeat moves nothing. `owner` None means a service.

        Raises `NotFound` (also for another's ticket), `Conflict`, `Unavailable`.
        """
        rows = await self._move([_uuid(ticket_id)], [owner], to)
        if not rows:
            raise NotFound()
        if rows[0]["outcome"] == "conflict":
            raise Conflict(f"a {rows[0]['status']} ticket cannot become {to}")
        return _ticket(rows[0]), rows[0]["outcome"] == "moved"

    async def expire(self, ticket_ids: Sequence[str]) -> list[Ticket]:
        """Those that expired now: whoever was confirmed or cancelled meanwhile is left alone."""
        rows = await self._move(list(map(_uuid, ticket_ids)), [None] * len(ticket_ids), TicketStatus.EXPIRED)
        return [_ticket(row) for row in rows if row["outcome"] == "moved"]

    async def _move(self, ids: list[uuid.UUID], owners: Sequence[str | None], to: TicketStatus) -> list[Any]:
        allowed = [status.value for status in TicketStatus if may_become(status, to)]
        async with self._database.connection() as connection:
            rows = await self._database.queries.move_tickets(
                connection, ids=ids, owners=owners, allowed=allowed, status=to.value
            )
        return list(rows)

    async def overdue(self, limit: int, silence_s: float) -> list[str]:
        """Beats the heart, and names up to `limit` tickets whose hold ran out; a silence extends every hold first."""
        async with self._database.connection() as connection:
            rows = await self._database.queries.overdue_tickets(connection, limit=limit, silence_s=silence_s)
        return [str(row["ticket_id"]) for row in rows]

    async def get(self, ticket_id: str, owner: str | None) -> Ticket:
        """Raises `NotFound` (also for another's ticket), `Unavailable`."""
        async with self._database.connection() as connection:
            row = await self._database.queries.ticket(connection, ticket_id=_uuid(ticket_id), owner=owner)
        if row is None:
            raise NotFound()
        return _ticket(row)

    async def of_user(self, user_id: str) -> list[Ticket]:
        """Newest first, the last `TICKETS_SHOWN`."""
        async with self._database.connection() as connection:
            rows = await self._database.queries.tickets_of(connection, user_id=user_id, limit=TICKETS_SHOWN)
        return [_ticket(row) for row in rows]

    async def forget_idempotency_keys(self, older_than_s: float) -> None:
        async with self._database.connection() as connection:
            await self._database.queries.forget_idempotency_keys(connection, seconds=older_than_s)


def _once_each(events: Sequence[str]) -> dict[str, list[Any]]:
    """Each event once, and for each record the place of its own there."""
    places = {event_id: place for place, event_id in enumerate(dict.fromkeys(events), start=1)}
    return {"events": list(places), "which": [places[event_id] for event_id in events]}


def _all_issued(orders: Sequence[Order], ids: Sequence[str], events: Sequence[Any]) -> list[Outcome]:
    of_event = {row["event_id"]: _at_issue(row) for row in events}
    return [Issued(_ordered(order, id, *of_event[order.issue.event_id])) for id, order in zip(ids, orders, strict=True)]


def _at_issue(event: Any) -> tuple[TicketStatus, datetime, datetime | None]:
    """What the tickets of an event have in common: status, when they were issued and when they expire."""
    issued_at, hold_s = event["issued_at"], event["hold_s"]
    if hold_s is None:
        return TicketStatus.CONFIRMED, issued_at, None
    return TicketStatus.PENDING, issued_at, issued_at + timedelta(seconds=hold_s)


def _outcome(row: Any, order: Order) -> Outcome:
    match row["outcome"]:
        case "issued":
            return Issued(_settled_ticket(row, order))
        case "by_this_record":
            return SettledByThisRecord(_settled_ticket(row, order))
        case "before":
            return SettledBefore()
        case "superseded":
            return Superseded()
        case outcome:
            assert outcome == "unknown", outcome
            return UnknownAdmission()


def _settled_ticket(row: Any, order: Order) -> Ticket:
    status = TicketStatus(row["status"])
    return _ordered(order, str(row["ticket_id"]), status, row["issued_at"], row["expires_at"])


def _ordered(
    order: Order, ticket_id: str, status: TicketStatus, issued_at: datetime, expires_at: datetime | None
) -> Ticket:
    """The ticket that this order came to; SQL settles none whose number is not the admission's."""
    return Ticket(
        ticket_id=ticket_id,
        event_id=order.issue.event_id,
        user_id=order.issue.user_id,
        sequence=order.issue.sequence,
        number=order.issue.number,
        status=status,
        issued_at=issued_at,
        expires_at=expires_at,
    )


def _ticket(row: Any) -> Ticket:
    return Ticket(
        ticket_id=str(row["ticket_id"]),
        event_id=row["event_id"],
        user_id=row["user_id"],
        sequence=row["sequence"],
        number=row["number"],
        status=TicketStatus(row["status"]),
        issued_at=row["issued_at"],
        expires_at=row["expires_at"],
    )


def _uuid(ticket_id: str) -> uuid.UUID:
    """What is no ticket id names no ticket. Raises `NotFound`."""
    try:
        return uuid.UUID(ticket_id)
    except ValueError:
        raise NotFound() from None


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError) as error:
        raise DataRefused(str(error)) from error
