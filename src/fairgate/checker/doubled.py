"""I2: nobody is served twice. One place, one live ticket, one fact, one telling. Pure.

A record in the log, or a notification at a client, may come again under its own id: that is a repeat, and is counted
as a fact of the run (`verdict.Facts`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from fairgate.checker.books import Book
from fairgate.checker.history import History
from fairgate.checker.log import Logged
from fairgate.checker.trail import Finding


def doubled(fans: Sequence[History], book: Book, *, recovered: bool = False) -> list[Finding]:
    return [
        *_two_tickets(book),
        *_shown_two(fans, book),
        *([] if recovered else _two_places(fans, book)),
        *_two_facts(book),
        *_told_twice(fans, book),
    ]


def _two_tickets(book: Book) -> Iterator[Finding]:
    owners: dict[str, list[str]] = defaultdict(list)
    settled = Counter((ticket.user_id, ticket.sequence) for ticket in book.tickets)
    for ticket in book.live_tickets:
        owners[ticket.user_id].append(ticket.ticket_id)
    for user_id, ids in owners.items():
        if len(ids) > 1:
            yield Finding(book.event_id, user_id, "settle", f"has {len(ids)} live tickets", ", ".join(sorted(ids)))
    for (user_id, sequence), count in settled.items():
        if count > 1:
            yield Finding(book.event_id, user_id, "settle", f"got {count} tickets for one place", f"place {sequence}")
    yield from _told_both(book)


def _told_both(book: Book) -> Iterator[Finding]:
    held = {ticket.user_id: ticket.sequence for ticket in book.live_tickets}
    for gone in book.departures:
        if gone.user_id in held and gone.sequence >= held[gone.user_id]:
            what = f"has a ticket, and was told {gone.reason!r} after it"
            yield Finding(book.event_id, gone.user_id, "admission", what, f"place {gone.sequence}")


def _shown_two(fans: Sequence[History], book: Book) -> Iterator[Finding]:
    """A client that never gave a ticket back is shown one."""
    ended = Counter(ticket.user_id for ticket in book.tickets if not ticket.live)
    for fan in fans:
        if len(fan.ticket_ids) > 1 + ended[fan.user_id]:
            yield Finding(book.event_id, fan.user_id, "client", f"was shown tickets {sorted(fan.ticket_ids)}")


def _two_places(fans: Sequence[History], book: Book) -> Iterator[Finding]:
    """Who did not leave, and whose place did not end, has one place, however often it asked."""
    ended = Counter(ticket.user_id for ticket in book.tickets if not ticket.live)
    ended.update(gone.user_id for gone in book.departures)
    for fan in fans:
        if len(fan.sequences) > 1 + fan.may_have_left + ended[fan.user_id]:
            what = f"left {fan.left} times, and had places {sorted(fan.sequences)}"
            yield Finding(book.event_id, fan.user_id, "join", what)


def _two_facts(book: Book) -> Iterator[Finding]:
    """In the log a fact has one message id, and a message id one content; the same again is a repeat, not a fact."""
    facts: dict[tuple[str, str], dict[str, Logged]] = defaultdict(dict)
    contents: dict[tuple[str, str], Logged] = {}
    for record in book.log:
        first = contents.setdefault((record.topic, record.message_id), record)
        if first.value != record.value:
            what = f"message {record.message_id or 'without id'} has another content than at {first.where}"
            yield Finding(book.event_id, record.user_id, record.topic, what, record.where)
        if record.topic != "ticket-issue":  # an order may be given again under another id: it is settled once
            fact = record.ticket_id or record.user_id, f"{record.kind or record.topic} {record.sequence or ''}"
            facts[fact].setdefault(record.message_id, record)
    for found in facts.values():
        for record in list(found.values())[1:]:
            what = f"one fact has message ids {sorted(found)}"
            yield Finding(book.event_id, record.user_id, record.topic, what, record.where)


def _told_twice(fans: Sequence[History], book: Book) -> Iterator[Finding]:
    """One id for each ticket and for each word that it is over: the client shows an id once."""
    told = [(row.user_id, row.ticket_id, row.id, "inbox") for row in book.inbox]
    told += [(fan.user_id, note.ticket_id, note.id, "client") for fan in fans for note in fan.told]
    ids: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for user_id, ticket_id, name, step in told:
        if ticket_id is not None:
            ids[user_id, ticket_id].setdefault(name, step)
    for (user_id, ticket_id), names in ids.items():
        if len(names) > 1:
            what = f"was told of one ticket as {sorted(names)}"
            yield Finding(book.event_id, user_id, list(names.values())[-1], what, f"ticket {ticket_id}")
