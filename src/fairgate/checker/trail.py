"""How far a place got: the steps of the flow in their order, and where each left its mark.

A finding names the first step without a mark, and where the last mark stands: that is where to look.
"""

from __future__ import annotations

from collections import defaultdict

import msgspec

from fairgate.checker.books import Book
from fairgate.checker.history import History

STEPS = ("join", "claim", "admission", "outbox", "ticket-issue", "settle", "ticket-issued", "inbox", "client")


class Finding(msgspec.Struct, frozen=True):
    """One thing that is wrong: of whom, at which step of the flow, and where that can be looked up."""

    event_id: str
    user_id: str
    step: str
    what: str
    where: str = ""

    def __str__(self) -> str:
        who = f"{self.event_id}/{self.user_id}" if self.user_id else self.event_id
        place = f"{self.step}, {self.where}" if self.where else self.step
        return f"{who}: {self.what} [{place}]"


class Trails:
    """The marks of all places of one event, gathered once."""

    def __init__(self, book: Book) -> None:
        self._marks: dict[tuple[str, int], dict[str, str]] = defaultdict(dict)
        self._places = {t.ticket_id: (t.user_id, t.sequence) for t in book.tickets}
        self._of_line(book)
        self._of_sql(book)
        self._of_log(book)
        for row in book.inbox:
            if row.ticket_id in self._places:
                self._mark(*self._places[row.ticket_id], "inbox", f"inbox {row.id}")

    def of(self, user_id: str, sequence: int | None) -> tuple[str, str]:
        """The first step without a mark, and where the last mark before it stands."""
        marks = self._marks.get((user_id, sequence or 0), {})
        reached = [index for index, step in enumerate(STEPS) if step in marks]
        last = max(reached, default=0)
        missing = next((step for step in STEPS[1:last] if step not in marks and step != "claim"), None)
        step = missing or STEPS[min(last + 1, len(STEPS) - 1)]
        return step, marks.get(STEPS[last], f"place {sequence}" if sequence else "")

    def _of_line(self, book: Book) -> None:
        for claim in book.line.claims:
            self._mark(claim.user_id, claim.sequence, "claim", "claimed in Valkey")

    def _of_sql(self, book: Book) -> None:
        for admission in book.admissions:
            self._mark(admission.user_id, admission.sequence, "admission", f"admissions no. {admission.number}")
            if not book.stock.unsent:
                self._mark(admission.user_id, admission.sequence, "outbox", f"admissions no. {admission.number}")
        for ticket in book.tickets:
            self._mark(ticket.user_id, ticket.sequence, "settle", f"tickets {ticket.ticket_id} by {ticket.settled_by}")

    def _of_log(self, book: Book) -> None:
        for record in book.log:
            if record.sequence is not None and record.topic in STEPS:
                self._mark(record.user_id, record.sequence, record.topic, record.where)

    def _mark(self, user_id: str, sequence: int, step: str, where: str) -> None:
        self._marks[user_id, sequence].setdefault(step, where)


def last_place(fan: History) -> int | None:
    """The place that this client knows itself to have; None: it was never given a number."""
    known = [call for call in fan.calls if call.sequence and call.outcome == "ok"]
    return max(known, key=lambda call: call.answered_at or 0.0).sequence if known else None
