"""That a drain lost nobody and served nobody twice (I1–I5), by the checker's own eyes: SQL and Kafka read afresh."""

from __future__ import annotations

from collections.abc import Collection

from fairgate.checker import books, doubled, order, stock
from fairgate.checker.books import Book
from fairgate.checker.trail import Finding
from fairgate.config import Config

SHOWN = 5


async def wrong(config: Config, event_id: str, joined: Collection[str]) -> list[Finding]:
    """What is wrong with a line in which all of `joined` were answered 200, and which nobody left."""
    read = await books.read(config, [event_id])
    return judged(read.events[event_id], joined)


def judged(book: Book, joined: Collection[str]) -> list[Finding]:
    """Pure."""
    users, holders = set(joined), {ticket.user_id for ticket in book.live_tickets}
    told = {row.user_id for row in book.inbox if row.ticket_id is not None}
    return [
        *(Finding(book.event_id, user, "settle", "joined, and has no ticket") for user in users - holders),
        *(Finding(book.event_id, user, "settle", "has a ticket, and never joined") for user in holders - users),
        *(Finding(book.event_id, user, "inbox", "has a ticket, and was not told") for user in holders - told),
        *doubled.doubled([], book),
        *order.out_of_order([], book),
        *stock.oversold(book),
        *stock.unbalanced(book),
    ]
