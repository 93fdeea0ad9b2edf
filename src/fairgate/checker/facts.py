"""What is worth knowing of a run and cannot be wrong. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from fairgate.checker.books import Book, Books
from fairgate.checker.history import ENDED_WITH_TICKET, History
from fairgate.checker.run import Run


class Span(msgspec.Struct, frozen=True):
    """Seconds; None where there was nothing to measure."""

    p50: float | None
    p99: float | None
    max: float | None


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """Repeats did no harm: in the log (same id, same content), at the clients (same id). `aborted`: raw records that
    no reader is given. `unknown_outcomes`: tries without an answer; `never_answered`: calls without one.
    `longest_stall_s`: no ticket was made for so long although somebody was admitted.
    """

    events: int
    joins: int
    at_the_door: int
    waiting: int
    left: int
    told_over: int
    tickets: int
    repeats_in_log: int
    raw_records: int
    aborted: int
    dead_letters: int
    shown_again: int
    unknown_outcomes: int
    never_answered: int
    longest_stall_s: float
    from_join_to_answer_s: Span
    from_join_to_ticket_s: Span
    from_turn_to_ticket_s: Span
    from_turn_to_inbox_s: Span


def facts(run: Run) -> Facts:
    fans, books = run.histories, run.books
    calls = [call for fan in fans for call in fan.calls]
    seen = [(fan.event_id, fan.user_id, told.id) for fan in fans for told in fan.told]
    return Facts(
        events=len(books.events),
        joins=sum(fan.joined for fan in fans),
        at_the_door=sum(fan.at_the_door for fan in fans),
        waiting=sum(len(book.line.waiting) + len(book.line.claims) for book in books.all),
        left=sum(fan.left for fan in fans),
        told_over=sum(len(book.departures) for book in books.all),
        tickets=sum(len(book.tickets) for book in books.all),
        repeats_in_log=sum(_repeats(book) for book in books.all),
        raw_records=sum(books.raw.values()),
        aborted=sum(books.aborted.values()),
        dead_letters=len(books.dead),
        shown_again=len(seen) - len(set(seen)),
        unknown_outcomes=sum(call.unknowns for call in calls),
        never_answered=sum(call.outcome == "info" for call in calls),
        longest_stall_s=_rounded(longest_stall_s(books)),
        from_join_to_answer_s=span([c.answered_at - c.invoked_at for c in calls if c.what == "join" and c.answered_at]),
        from_join_to_ticket_s=span([waited for fan in fans if (waited := waited_s(fan)) is not None]),
        from_turn_to_ticket_s=span(list(_since_turn(books, lambda book: ((t.ticket_id, t.at) for t in book.tickets)))),
        from_turn_to_inbox_s=span(list(_since_turn(books, lambda book: ((r.ticket_id, r.at) for r in book.inbox)))),
    )


def _repeats(book: Book) -> int:
    return len(book.log) - len({(record.topic, record.message_id) for record in book.log})


def longest_stall_s(books: Books) -> float:
    """The longest time in which somebody was admitted and no ticket was made."""
    settled = {(book.event_id, ticket.user_id, ticket.sequence) for book in books.all for ticket in book.tickets}
    steps = [(ticket.at, -1) for book in books.all for ticket in book.tickets]
    steps += [
        (admission.at, 1)
        for book in books.all
        for admission in book.admissions
        if (book.event_id, admission.user_id, admission.sequence) in settled
    ]
    longest, pending, since = 0.0, 0, 0.0
    for at, change in sorted(steps):
        if change < 0:
            longest = max(longest, at - since)
        if change < 0 or pending == 0:
            since = at
        pending += change
    return longest


def _since_turn(books: Books, moments: Callable[[Book], Iterable[tuple[str | None, float]]]) -> Iterator[float]:
    for book in books.all:
        turned = {(a.user_id, a.sequence): a.at for a in book.admissions}
        began = {t.ticket_id: turned.get((t.user_id, t.sequence), t.at) for t in book.tickets}
        yield from (at - began[ticket_id] for ticket_id, at in moments(book) if ticket_id in began)


def waited_s(fan: History) -> float | None:
    """From the first join to the first sign of the ticket, however it came."""
    if fan.end not in ENDED_WITH_TICKET or fan.ended_at is None or not fan.calls:
        return None
    signs = [told.at for told in fan.told if told.ticket_id is not None]
    return min([fan.ended_at, *signs]) - min(call.invoked_at for call in fan.calls)


def span(seconds: Sequence[float]) -> Span:
    ordered = sorted(seconds)
    if not ordered:
        return Span(None, None, None)
    return Span(_rounded(percentile(ordered, 0.5)), _rounded(percentile(ordered, 0.99)), _rounded(ordered[-1]))


def percentile(ordered: Sequence[float], share: float) -> float:
    """The nearest rank: a value that occurred."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def _rounded(seconds: float) -> float:
    return round(seconds, 4)
