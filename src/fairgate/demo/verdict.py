"""The demo's verdict: the checker's, and what this crowd alone can know. Pure.

Every fan wants a ticket in the end, so the counts are known before: who gets in, who gets a ticket, who is told.
"""

from __future__ import annotations

import msgspec

from fairgate.checker import verdict as checker
from fairgate.checker.history import ENDED_WITH_TICKET
from fairgate.checker.run import Run
from fairgate.checker.verdict import EXAMPLES, Line
from fairgate.demo.options import Plan


class Crowd(msgspec.Struct, frozen=True, kw_only=True):
    """What the crowd itself knows of its run, besides the histories."""

    took_s: float
    requests: int
    trouble: dict[str, int]
    cpu_s: float


class Verdict(checker.Verdict, frozen=True, kw_only=True):
    plan: Plan
    crowd: Crowd

    def told(self) -> str:
        """For people, on a terminal."""
        title = f"verdict on {self.plan.fans} fans in {self.crowd.took_s:.0f} s"
        trouble = ", ".join(f"{count} × {what}" for what, count in self.crowd.trouble.items())
        return self.text(title + (f" (met on the way: {trouble})" if trouble else ""))


def judge(plan: Plan, run: Run, crowd: Crowd) -> Verdict:
    of_all = checker.judge(run)
    return Verdict(plan=plan, crowd=crowd, lines=[*counts(plan, run), *of_all.lines], facts=of_all.facts)


def counts(plan: Plan, run: Run) -> list[Line]:
    return [_joined(plan, run), _left(run), _tickets(plan, run), _sold_out(plan, run)]


def _joined(plan: Plan, run: Run) -> Line:
    book = run.books.events[plan.event_id]
    clients = {fan.user_id for fan in run.histories if fan.joined}
    door = {fan.user_id for fan in run.histories if fan.at_the_door}
    sql = {a.user_id for a in book.admissions} | {d.user_id for d in book.departures}
    found = {"clients": len(clients), "sql": len(sql), "at the door": len(door - sql)}
    refused = [f"{fan.user_id or 'a fan'} never got in: {fan.refused}" for fan in run.histories if fan.refused]
    return Line("joined", f"all {plan.fans} fans got in", abs(plan.fans - len(clients)), found, refused[:EXAMPLES])


def _left(run: Run) -> Line:
    """Who leaves comes back: after the last leave there is another join."""
    leavers = [fan for fan in run.histories if fan.left]
    gone = [fan.user_id for fan in leavers if fan.end == "left" or not fan.end]
    found = {"clients": sum(fan.left for fan in leavers)}
    return Line("left", "who left came back to the tail", len(gone), found, gone[:EXAMPLES])


def _tickets(plan: Plan, run: Run) -> Line:
    book = run.books.events[plan.event_id]
    found = {
        "clients": sum(fan.end in ENDED_WITH_TICKET for fan in run.histories),
        "sql": len(book.live_tickets),
        "kafka": len({record.ticket_id for record in book.log if record.topic == "ticket-issued"}),
    }
    return _exactly("tickets", f"exactly {plan.tickets} fans have a ticket", plan.tickets, found)


def _sold_out(plan: Plan, run: Run) -> Line:
    book = run.books.events[plan.event_id]
    door = sum(fan.at_the_door for fan in run.histories)
    told = {record.user_id for record in book.log if record.kind == "queue:sold_out"}
    found = {
        "clients": sum(fan.end == "sold_out" for fan in run.histories),
        "sql": len({gone.user_id for gone in book.departures if gone.reason == "sold_out"}) + door,
        "kafka": len(told) + door,
    }
    return _exactly("sold out", f"exactly {plan.sold_out} fans were told so", plan.sold_out, found)


def _exactly(name: str, promise: str, wanted: int, found: dict[str, int]) -> Line:
    findings = [f"{who}: {count}, not {wanted}" for who, count in found.items() if count != wanted]
    return Line(name, promise, max(abs(count - wanted) for count in found.values()), found, findings)
