"""The books of every event, counted row by row, and every difference with its users: what `fairgate audit` prints.

A system that moves is looked at again: only what every look finds is a difference, and what Kafka still holds is on its
way. So a balanced system answers at once, and one that is not after about ten seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from fairgate.ops.audit import EQUATIONS, differences
from fairgate.stores.accounts import Accounts, EventAccount, Finding, LineAccount, Rows

LOOKS, LOOK_AGAIN_S = 4, 3.5


class Book(msgspec.Struct, frozen=True, rename="camel"):
    """One event: where everybody is who ever joined. `on_its_way`: admitted, and not yet a ticket or in the outbox."""

    event_id: str
    joined: int
    waiting: int
    left: int
    told_over: int
    admitted: int
    outbox: int
    on_its_way: int
    pending: int
    confirmed: int
    cancelled: int
    expired: int


class Difference(msgspec.Struct, frozen=True, rename="camel"):
    """`user_id` and `sequence` where one user is behind it; else `amount` is by how much the equation fails."""

    equation: str
    event_id: str
    what: str
    user_id: str | None = None
    sequence: int | None = None
    amount: int = 1


class Books(msgspec.Struct, frozen=True):
    books: list[Book]
    differences: list[Difference]


def book_of(event: EventAccount, line: LineAccount, rows: Rows) -> Book:
    """Claims count as waiting."""
    return Book(
        event_id=event.event_id,
        joined=line.joined,
        waiting=line.waiting + line.claims,
        left=line.left,
        told_over=rows.departures,
        admitted=rows.admissions,
        outbox=event.unsent,
        on_its_way=rows.unsettled - event.unsent,
        pending=rows.pending,
        confirmed=rows.confirmed,
        cancelled=rows.cancelled,
        expired=rows.expired,
    )


def row_differences(event: EventAccount, rows: Rows) -> list[Difference]:
    """Counters that do not say what the rows say."""
    issued = rows.pending + rows.confirmed + rows.cancelled + rows.expired
    pairs = [
        ("stock", "numbers given that no admission has", event.admitted - rows.admissions),
        ("stock", "reserved for nobody", event.reserved - rows.pending - rows.confirmed - rows.unsettled),
        ("tickets", "issued by the counter that no ticket is", event.issued - issued),
        ("tickets", "confirmed by the counter that no ticket is", event.confirmed - rows.confirmed),
        ("tickets", "cancelled by the counter that no ticket is", event.cancelled - rows.cancelled),
        ("tickets", "expired by the counter that no ticket is", event.expired - rows.expired),
    ]
    return [Difference(name, event.event_id, what, amount=amount) for name, what, amount in pairs if amount]


async def read_books(accounts: Accounts, unread: Callable[[], Awaitable[int]]) -> Books:
    """All events. `unread` asks Kafka what ticketing has not read. Raises `Unavailable`."""
    found = await _look(accounts, unread)
    for _ in range(LOOKS - 1):
        if not found.differences:
            break
        await asyncio.sleep(LOOK_AGAIN_S)
        again = await _look(accounts, unread)
        found = Books(again.books, [one for one in again.differences if one in found.differences])
    return found


async def _look(accounts: Accounts, unread: Callable[[], Awaitable[int]]) -> Books:
    snapshot = await accounts.snapshot()
    lines = await accounts.lines([event.event_id for event, _ in snapshot.events])
    # asked last: what has become a ticket meanwhile is no difference, and what was read without one is
    in_kafka = await unread()
    books = [book_of(event, line, rows) for (event, rows), line in zip(snapshot.events, lines, strict=True)]
    counters = differences([(event, line) for (event, _), line in zip(snapshot.events, lines, strict=True)], None)
    lost = sum(book.on_its_way for book in books) - in_kafka
    found = [Difference(key.equation, key.event_id, "counters", amount=amount) for key, amount in counters.items()]
    for event, rows in snapshot.events:
        found += row_differences(event, rows)
    found += named("pipeline", "admitted, and neither a ticket nor on its way", snapshot.unsettled[: max(0, lost)])
    found += named("stock", "admitted under a number that nobody gave", snapshot.unnumbered)
    found += named("tickets", "a ticket without its admission", snapshot.from_nowhere)
    return Books(books, sorted(found, key=_order))


def named(equation: str, what: str, findings: Sequence[Finding]) -> list[Difference]:
    """One difference per user."""
    return [Difference(equation, one.event_id, what, one.user_id, one.sequence) for one in findings]


def _order(one: Difference) -> tuple[Any, ...]:
    return one.event_id, EQUATIONS.index(one.equation), one.what, one.user_id or "", one.sequence or 0
