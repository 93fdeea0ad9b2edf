"""I6 the position never grows, I7 the rate is kept, I8 orphans come back, I9 a bad message hurts nobody else;
and nobody is shown what is another's (F16). Pure.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from fairgate.checker.books import Book, Books, Claim
from fairgate.checker.history import Call, History
from fairgate.checker.run import Pace, Recovery
from fairgate.checker.trail import Finding

# A rate is a real number: half a ticket more or less is arithmetic.
RATE_SLACK = 0.5
# What the recovery of a claim may take once what failed is back (I8).
ORPHAN_S = 10.0
# A client has at most two calls in the air.
REMEMBERED = 4


def grew(fans: Sequence[History], recoveries: Sequence[Recovery] = ()) -> list[Finding]:
    """Of one place, who asks after having been answered never stands further back, but for an announced recovery."""
    return [finding for fan in fans for finding in _grew(fan, [r for r in recoveries if r.event_id == fan.event_id])]


def _grew(fan: History, recoveries: Sequence[Recovery]) -> Iterator[Finding]:
    answered: dict[int, list[Call]] = defaultdict(list)
    for call in sorted(fan.calls, key=lambda call: call.invoked_at):
        if call.position is None or call.sequence is None or call.recovering:
            continue
        earlier = [
            old
            for old in answered[call.sequence]
            if old.answered_at is not None and old.answered_at < call.invoked_at and not _moved(old, call, recoveries)
        ]
        before = min((old.position or 0 for old in earlier), default=call.position)
        if call.position > before:
            what = f"stood at {before}, then at {call.position}"
            yield Finding(fan.event_id, fan.user_id, "join", what, f"place {call.sequence}")
        answered[call.sequence] = [*answered[call.sequence], call][-REMEMBERED:]


def _moved(old: Call, new: Call, recoveries: Sequence[Recovery]) -> bool:
    """A recovery lies between these two answers, or touches one."""
    since, until = old.invoked_at, new.answered_at or new.invoked_at
    return any(recovery.began_at <= until and recovery.ended_at >= since for recovery in recoveries)


def too_fast(book: Book, pace: Pace) -> list[Finding]:
    """In any window at most rate × window + burst are admitted. Linear: the least slack so far decides."""
    line = sorted((a for a in book.admissions if a.source == "line"), key=lambda a: a.at)
    found, least = [], float("inf")
    for count, admission in enumerate(line):
        passed = pace.rate * (admission.at - line[0].at)
        least = min(least, count - passed)
        excess = count + 1 - passed - least - pace.burst
        if excess > RATE_SLACK:
            what, where = f"was admitted {excess:.1f} too early", f"admissions no. {admission.number}"
            found.append(Finding(book.event_id, admission.user_id, "admission", what, where))
    return found


def orphans(book: Book, healed_at: float | None) -> list[Finding]:
    """A claim that is old although nothing is in its way: its process died, and nobody took it up."""
    line = book.line
    healing = healed_at is not None and line.read_at < healed_at + ORPHAN_S
    if line.held or healing or book.stock.state != "open":
        return []
    return [
        Finding(book.event_id, claim.user_id, "claim", _age(claim), f"place {claim.sequence}")
        for claim in line.claims
        if claim.age_s is None or claim.age_s > ORPHAN_S
    ]


def _age(claim: Claim) -> str:
    since = "" if claim.age_s is None else f", for {claim.age_s:.0f} s"
    return f"left the line and is in no row{since}: an orphan"


def dead_letters(books: Books, bad: frozenset[str]) -> list[Finding]:
    """What is dead was made to be, and what was made to be is dead."""
    died = {letter.source for letter in books.dead}
    wrong = [
        Finding("", "", "dead letters", f"{letter.source} is dead: {letter.reason}", letter.where)
        for letter in books.dead
        if letter.source not in bad
    ]
    return wrong + [Finding("", "", "dead letters", f"{source} was bad, and is not dead") for source in bad - died]


def overheard(fans: Sequence[History], book: Book) -> list[Finding]:
    """A ticket is shown to its owner alone, whatever a client says of itself."""
    owners = {ticket.ticket_id: ticket.user_id for ticket in book.tickets}
    return [
        Finding(book.event_id, fan.user_id, "client", f"was shown the ticket of {owner}", f"ticket {ticket_id}")
        for fan in fans
        for ticket_id in sorted(fan.ticket_ids)
        if (owner := owners.get(ticket_id, fan.user_id)) != fan.user_id
    ]
