"""I3: order. Numbers follow the line, the log follows the numbers, the line follows real time. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from fairgate.checker.books import Book
from fairgate.checker.history import History
from fairgate.checker.trail import Finding
from fairgate.domain.line import generation_of


def out_of_order(fans: Sequence[History], book: Book, *, recovered: bool = False) -> list[Finding]:
    return [*_overtaken(book, recovered), *_mismatched(book), *_disorder_in_log(book), *_scattered(book), *_raced(fans)]


def _overtaken(book: Book, recovered: bool) -> Iterator[Finding]:
    """In the order of their numbers, the sequences of who came through the line only grow.

    Where the line was rebuilt, who was absent then may come late: of an earlier generation, and first on return.
    """
    line = sorted((a for a in book.admissions if a.source == "line"), key=lambda a: a.number)
    highest = -1
    for admission in line:
        returned = recovered and generation_of(admission.sequence) < book.stock.generation
        if admission.sequence < highest and not returned:
            what = f"place {admission.sequence} was admitted after place {highest}"
            yield Finding(book.event_id, admission.user_id, "admission", what, f"admissions no. {admission.number}")
        highest = max(highest, admission.sequence)


def _mismatched(book: Book) -> Iterator[Finding]:
    """A ticket carries the number of its admission."""
    numbers = {(a.user_id, a.sequence): a.number for a in book.admissions}
    for ticket in book.tickets:
        number = numbers.get((ticket.user_id, ticket.sequence), ticket.number)
        if number != ticket.number:
            what = f"has ticket no. {ticket.number}, and was admitted as no. {number}"
            yield Finding(book.event_id, ticket.user_id, "settle", what, f"ticket {ticket.ticket_id}")


def _disorder_in_log(book: Book) -> Iterator[Finding]:
    """Orders stand in their partition by number; a repeat may come later."""
    highest: dict[int, int] = defaultdict(int)
    seen: set[int] = set()
    for record in book.log:
        if record.topic != "ticket-issue" or record.number is None or record.number in seen:
            continue
        seen.add(record.number)
        if record.number < highest[record.partition]:
            what = f"no. {record.number} stands behind no. {highest[record.partition]}"
            yield Finding(book.event_id, record.user_id, "ticket-issue", what, record.where)
        highest[record.partition] = max(highest[record.partition], record.number)


def _scattered(book: Book) -> Iterator[Finding]:
    """One key, one partition: an event's orders, and a user's facts, each topic for itself."""
    homes: dict[tuple[str, str], int] = {}
    for record in book.log:
        key = "" if record.topic == "ticket-issue" else record.user_id
        home = homes.setdefault((record.topic, key), record.partition)
        if home != record.partition:
            what = f"its key's records are also in partition {home}"
            yield Finding(book.event_id, record.user_id, record.topic, what, record.where)


def places(fans: Sequence[History]) -> list[tuple[float, float, int, str]]:
    """(first asked, first answered, sequence, user) of each place that a join gave."""
    spans: dict[tuple[str, int], tuple[float, float]] = {}
    for fan in fans:
        for call in fan.answered("join"):
            if call.sequence and call.answered_at is not None:
                asked, answered = spans.get((fan.user_id, call.sequence), (call.invoked_at, call.answered_at))
                spans[fan.user_id, call.sequence] = min(asked, call.invoked_at), min(answered, call.answered_at)
    return [(asked, answered, sequence, user) for (user, sequence), (asked, answered) in spans.items()]


def _raced(fans: Sequence[History]) -> Iterator[Finding]:
    """Real time: who was answered before another asked stands before. Linear after sorting, whatever the crowd."""
    spans = places(fans)
    by_answer = sorted(spans, key=lambda span: span[1])
    event_id = fans[0].event_id if fans else ""
    answered, highest = 0, -1
    for asked, _, sequence, user_id in sorted(spans):
        while answered < len(by_answer) and by_answer[answered][1] < asked:
            highest = max(highest, by_answer[answered][2])
            answered += 1
        if sequence < highest:
            what = f"asked for place {sequence} after place {highest} had been answered"
            yield Finding(event_id, user_id, "join", what)
