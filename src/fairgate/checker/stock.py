"""I4 no oversell, I5 no ticket from nowhere, I10 the books balance. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise

from fairgate.checker.books import Book
from fairgate.checker.history import History
from fairgate.checker.trail import Finding, Trails


def oversold(book: Book) -> list[Finding]:
    live, capacity = len(book.live_tickets), book.stock.capacity
    found = []
    if capacity is not None and live > capacity:
        found.append(Finding(book.event_id, "", "settle", f"{live} live tickets of {capacity}"))
    tickets = sorted(book.tickets, key=lambda ticket: ticket.number)
    for a, b in pairwise(tickets):
        if a.number == b.number:
            what = f"no. {a.number} was given twice, also to {a.user_id}"
            found.append(Finding(book.event_id, b.user_id, "settle", what, f"ticket {b.ticket_id}"))
    return found


def from_nowhere(fans: Sequence[History], book: Book, acts: frozenset[tuple[str, str]] = frozenset()) -> list[Finding]:
    """Each ticket has its admission, and its place was given to this user by a join (or it was an operator's act)."""
    admitted = {(a.user_id, a.sequence) for a in book.admissions}
    known = {(fan.user_id, sequence) for fan in fans for sequence in fan.sequences}
    unsure = {fan.user_id for fan in fans if any(call.outcome == "info" for call in fan.calls)}
    found = []
    for ticket in book.tickets:
        place, where = (ticket.user_id, ticket.sequence), f"ticket {ticket.ticket_id} by {ticket.settled_by}"
        if place not in admitted:
            found.append(Finding(book.event_id, ticket.user_id, "settle", "has a ticket without an admission", where))
        if place not in known and ticket.user_id not in unsure and (book.event_id, ticket.user_id) not in acts:
            found.append(Finding(book.event_id, ticket.user_id, "join", "has a ticket without a join", where))
    return found


def unbalanced(book: Book) -> list[Finding]:
    """With nothing on its way: admitted = issued, issued = pending + confirmed + cancelled + expired, and every sum
    that is kept agrees with what it sums up.
    """
    return [*_unsettled(book), *_sums(book), *_line_sums(book)]


def _unsettled(book: Book) -> Iterator[Finding]:
    """Admitted and without a ticket: in the outbox, or lost on the way."""
    settled, trails = {(ticket.user_id, ticket.sequence) for ticket in book.tickets}, Trails(book)
    for admission in book.admissions:
        if (admission.user_id, admission.sequence) not in settled:
            step, where = trails.of(admission.user_id, admission.sequence)
            yield Finding(book.event_id, admission.user_id, step, "was admitted, and has no ticket", where)
    if book.stock.unsent:
        yield Finding(book.event_id, "", "outbox", f"{book.stock.unsent} messages were never sent")


def _sums(book: Book) -> Iterator[Finding]:
    stock, by_status = book.stock, Counter(ticket.status for ticket in book.tickets)
    unsettled = len(
        {(a.user_id, a.sequence) for a in book.admissions} - {(t.user_id, t.sequence) for t in book.tickets}
    )
    sums = {
        "reserved": (stock.reserved, len(book.live_tickets) + unsettled),
        "issued": (stock.issued, len(book.tickets)),
        "confirmed": (stock.confirmed, by_status["confirmed"]),
        "cancelled": (stock.cancelled, by_status["cancelled"]),
        "expired": (stock.expired, by_status["expired"]),
        "admitted": (stock.next_number - 1, len(book.admissions)),
    }
    for name, (kept, counted) in sums.items():
        if kept != counted:
            yield Finding(book.event_id, "", "settle", f"the books say {kept} {name}, and there are {counted}")


def _line_sums(book: Book) -> Iterator[Finding]:
    """Valkey's own counters, in the line's first life: joined = waiting + left + admitted + told that it is over."""
    counters, line = book.line.counters, book.line
    if book.stock.generation > 1 or "joined" not in counters:
        return
    gone = sum(counters.get(name, 0) for name in ("left", "admitted", "departed"))
    counted = len(line.waiting) + len(line.claims) + gone
    if counters["joined"] != counted:
        yield Finding(book.event_id, "", "join", f"the line says {counters['joined']} joined, and counts {counted}")
