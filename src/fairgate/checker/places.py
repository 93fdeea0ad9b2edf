"""I1: nobody is lost. Every join that was answered has exactly one end, and who has an end hears of it. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from fairgate.checker.books import Book
from fairgate.checker.history import Call, History
from fairgate.checker.trail import Finding, Trails, last_place

Ends = dict[str, dict[int, list[str]]]


def lost(fans: Sequence[History], book: Book, *, recovered: bool = False) -> list[Finding]:
    """`recovered`: the line was rebuilt after lost data, so a place may have become another one."""
    ends, trails = ends_of(book), Trails(book)
    return [
        *_without_end(fans, ends, trails, book.event_id, recovered),
        *_with_two_ends(fans, ends, book.event_id),
        *(finding for fan in fans for finding in _vanished(fan, trails, recovered)),
    ]


def ends_of(book: Book) -> Ends:
    """User → sequence → what became of it. A claim still counts as waiting."""
    ends: Ends = defaultdict(lambda: defaultdict(list))
    waiting = book.line.waiting | {claim.user_id: claim.sequence for claim in book.line.claims}
    for user_id, sequence in waiting.items():
        ends[user_id][sequence].append("waiting")
    for departure in book.departures:
        ends[departure.user_id][departure.sequence].append(f"told {departure.reason!r}")
    for ticket in book.tickets:
        ends[ticket.user_id][ticket.sequence].append(f"a ticket ({ticket.status})")
    return ends


def _without_end(
    fans: Sequence[History], ends: Ends, trails: Trails, event_id: str, recovered: bool
) -> Iterator[Finding]:
    for fan in fans:
        place = last_place(fan)
        if not fan.joined or place is None or _may_be_gone(fan, place):
            continue
        since = 0 if recovered else place
        if not any(sequence >= since for sequence in ends.get(fan.user_id, ())):
            step, where = trails.of(fan.user_id, place)
            yield Finding(event_id, fan.user_id, step, "joined, and has no end: lost", where)


def _may_be_gone(fan: History, place: int) -> bool:
    """It left this place, or may have."""
    got = min(call.invoked_at for call in fan.calls if call.sequence == place)
    return any(
        call.what == "leave" and call.invoked_at >= got and (call.outcome == "info" or call.status == "left")
        for call in fan.calls
    )


def _with_two_ends(fans: Sequence[History], ends: Ends, event_id: str) -> Iterator[Finding]:
    for user_id, places in ends.items():
        for sequence, found in places.items():
            if len(found) > 1:
                yield Finding(
                    event_id, user_id, "admission", f"has two ends: {' and '.join(found)}", f"place {sequence}"
                )
    for fan in fans:
        for call in fan.answered("leave"):
            found = ends.get(fan.user_id, {}).get(call.sequence or 0, [])
            if call.status == "left" and found:
                what = f"left, and yet: {' and '.join(found)}"
                yield Finding(event_id, fan.user_id, "join", what, f"place {call.sequence}")


def _vanished(fan: History, trails: Trails, recovered: bool) -> Iterator[Finding]:
    """The place was gone although the fan had not left."""
    if recovered or fan.may_have_left:
        return
    for call in fan.answered("position"):
        if call.status in ("none", "left") and (place := _known_before(fan, call)) is not None:
            step, where = trails.of(fan.user_id, place)
            yield Finding(fan.event_id, fan.user_id, step, f"had a place, and was told {call.status!r}", where)


def _known_before(fan: History, asked: Call) -> int | None:
    """The place that had been answered when this was asked."""
    before = [c for c in fan.calls if c.sequence and c.answered_at is not None and c.answered_at < asked.invoked_at]
    return max(before, key=lambda call: call.invoked_at).sequence if before else None


# ---- told


def untold(fans: Sequence[History], book: Book) -> list[Finding]:
    """Who has an end has it in the inbox and in the log, and the client heard of it: who listens by its socket."""
    owed = [(t.ticket_id, t.user_id, t.sequence) for t in book.live_tickets]
    owed += [(d.user_id, d.user_id, d.sequence) for d in book.departures]
    return [
        *_unwritten(book, owed),
        *_unheard({fan.user_id: fan for fan in fans}, owed),
        *unfinished(fans),
    ]


Owed = Sequence[tuple[str, str, int]]


def _unwritten(book: Book, owed: Owed) -> Iterator[Finding]:
    kept = {row.ticket_id or row.user_id for row in book.inbox}
    logged = {record.ticket_id or record.user_id for record in book.log if record.topic != "ticket-issue"}
    trails = Trails(book)
    for fact, user_id, sequence in owed:
        if fact not in logged or fact not in kept:
            step, where = trails.of(user_id, sequence)
            missing = "log" if fact not in logged else "inbox"
            yield Finding(book.event_id, user_id, step, f"has an end that is not in the {missing}", where)


def _unheard(clients: dict[str, History], owed: Owed) -> Iterator[Finding]:
    for fact, user_id, sequence in owed:
        fan = clients.get(user_id)
        if fan is not None and not fan.quit and not _reached(fan, fact):
            how = "by its socket" if fan.listens else "by its inbox"
            yield Finding(fan.event_id, user_id, "client", f"never heard of its end {how}", f"place {sequence}")


def _reached(fan: History, fact: str) -> bool:
    via = "socket" if fan.listens else "inbox"
    if fact == fan.user_id:
        return any(told.via == via and told.kind.startswith("queue:") for told in fan.told)
    return any(told.via == via and told.ticket_id == fact for told in fan.told)


def unfinished(fans: Sequence[History]) -> Iterable[Finding]:
    """Fans that still waited for their end, or to be told of it, when the run was over."""
    for fan in fans:
        if fan.may_have_joined and not fan.done and not fan.quit:
            yield Finding(fan.event_id, fan.user_id, "client", f"waited to the last: {signs(fan)}")


def signs(fan: History) -> str:
    """What is known of a client that waits: how it listens, its last question, the last sign that it was given."""
    asked: Call | None = max(fan.calls, key=lambda call: call.invoked_at, default=None)
    known = [f"knows {fan.end or 'no end'}", f"listens by {'its socket' if fan.listens else 'asking'}"]
    if asked is not None:
        answer = f"{asked.status} at {asked.answered_at:.1f}" if asked.answered_at is not None else "no answer"
        known.append(f"last asked ({asked.what}) at {asked.invoked_at:.1f}: {answer}")
    return ", ".join([*known, f"heard {fan.told[-1].kind} at {fan.told[-1].at:.1f}" if fan.told else "heard nothing"])
