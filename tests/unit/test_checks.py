"""Each check finds what it is for: a sound run passes, and every single wrong makes exactly its own line fail."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fairgate.checker import conduct, history, order
from fairgate.checker.books import Admission, Book, Books, Claim, Departure, InboxRow, LineBook, Stock, Ticket
from fairgate.checker.facts import span
from fairgate.checker.history import Call, History, Told
from fairgate.checker.log import DeadLetter, Logged
from fairgate.checker.run import Pace, Recovery, Run
from fairgate.demo.options import Plan
from fairgate.demo.verdict import Crowd, Verdict, judge

PLAN = Plan(
    event_id="e", fans=3, listeners=1, seconds=1, capacity=2, rate=1.0, burst=1, patience_s=10, seed=0
)  # fmt: skip
CROWD = Crowd(took_s=1.0, requests=1, trouble={}, cpu_s=0.1)
STOCK = Stock(
    capacity=2,
    reserved=2,
    next_number=3,
    issued=2,
    confirmed=2,
    cancelled=0,
    expired=0,
    rate=1.0,
    burst=1,
    state="open",
    generation=1,
)


EMPTY = Book(event_id="e", stock=STOCK, admissions=[], departures=[], tickets=[], inbox=[], log=[])


class World:
    """Three fans in line: a and b get the two tickets (a listens), c hears that it is sold out."""

    def __init__(self) -> None:
        self.fans = {name: _fan(name, n) for n, name in enumerate(("a", "b", "c"), start=1)}
        self.admissions = [Admission("a", 1, 1, "line", 100.0), Admission("b", 2, 2, "line", 101.0)]
        self.tickets = [
            Ticket(f"t-{u}", u, n, n, "confirmed", 100.0 + n, f"topic-0@{n}") for n, u in ((1, "a"), (2, "b"))
        ]
        self.departures = [Departure("c", 3, "sold_out")]
        self.inbox = [InboxRow(u, f"issued:t-{u}", "ticket:issued", f"t-{u}", True, 103.0) for u in ("a", "b")]
        self.inbox.append(InboxRow("c", "m-c", "queue:sold_out", None, True, 103.0))
        self.log = [_order("a", 1, 0), _order("b", 2, 1), _issued("a", 0), _issued("b", 1), _gone("c")]
        self.stock = STOCK
        self.line = LineBook(counters={"joined": 3, "left": 0, "admitted": 2, "departed": 1}, read_at=200.0)
        self.dead: list[DeadLetter] = []
        self.about: dict[str, Any] = {}

    @property
    def run(self) -> Run:
        book = Book(
            event_id="e",
            stock=self.stock,
            admissions=self.admissions,
            departures=self.departures,
            tickets=self.tickets,
            inbox=self.inbox,
            log=self.log,
            line=self.line,
        )
        return Run(histories=list(self.fans.values()), books=Books(events={"e": book}, dead=self.dead), **self.about)

    def verdict(self) -> Verdict:
        return judge(PLAN, self.run, CROWD)


def _fan(name: str, n: int) -> History:
    ticket = None if name == "c" else f"t-{name}"
    end = "sold_out" if name == "c" else "confirmed"
    kind, id = ("queue:sold_out", "m-c") if name == "c" else ("ticket:issued", f"issued:t-{name}")
    at = n * 10.0
    return History(
        user_id=name,
        event_id="e",
        listens=name == "a",
        arrived_at=at,
        ended_at=at + 4,
        end=end,
        done=True,
        calls=[
            Call("join", at, 0, at + 1, "waiting", n, n, None),
            Call("position", at + 2, 0, at + 3, "waiting", n, 1, None),
            Call("position", at + 3, 0, at + 4, end, n, None, ticket),
        ],
        told=[Told(id, kind, at + 5, "socket" if name == "a" else "inbox", ticket, "e")],
    )


def _order(user: str, number: int, offset: int) -> Logged:
    return Logged("ticket-issue", 0, offset, f"7.{offset}", b"order " + user.encode(), user, None, number, None, number)


def _issued(user: str, offset: int) -> Logged:
    return Logged("ticket-issued", 1, offset, f"issued:t-{user}", b"fact " + user.encode(), user, f"t-{user}")


def _gone(user: str) -> Logged:
    return Logged("notification", 2, 0, f"m-{user}", b"gone " + user.encode(), user, kind="queue:sold_out")


def replace(thing: Any, **changes: Any) -> Any:
    return msgspec.structs.replace(thing, **changes)


def test_a_sound_run_is_right() -> None:
    verdict = World().verdict()
    assert [line.examples for line in verdict.lines if not line.kept] == []
    assert verdict.right and verdict.plain()["right"] is True


def the_ticket_is_gone(world: World) -> None:
    world.tickets.pop()


def left_and_admitted(world: World) -> None:
    world.fans["b"].calls.insert(1, Call("leave", 21.5, 0, 21.6, "left", 2))


def a_ticket_and_still_waiting(world: World) -> None:
    world.line = replace(world.line, waiting={"b": 2})


def a_fan_never_got_in(world: World) -> None:
    world.fans["c"].calls.clear()


def a_place_vanished(world: World) -> None:
    world.fans["a"].calls.insert(1, Call("position", 11.5, 0, 11.6, "none"))


def two_live_tickets(world: World) -> None:
    world.tickets.append(Ticket("t-a2", "a", 1, 3, "pending", 101.0))


def a_ticket_and_a_refusal(world: World) -> None:
    world.departures.append(Departure("a", 1, "sold_out"))


def two_places_without_leaving(world: World) -> None:
    world.fans["b"].calls.append(Call("join", 24.5, 0, 24.6, "waiting", 4, 1))


def told_under_two_ids(world: World) -> None:
    world.fans["a"].told.append(Told("other", "ticket:issued", 16.0, "socket", "t-a", "e"))


def two_rows_for_one_ticket(world: World) -> None:
    world.inbox.append(InboxRow("a", "other", "ticket:issued", "t-a", False, 104.0))


def two_message_ids_for_one_ticket(world: World) -> None:
    world.log.append(replace(_issued("a", 2), message_id="other"))


def one_message_id_with_two_contents(world: World) -> None:
    world.log.append(replace(_issued("a", 2), value=b"something else"))


def shown_two_tickets(world: World) -> None:
    world.fans["a"].calls[-1].ticket_id = "t-other"


def numbers_against_the_line(world: World) -> None:
    world.admissions = [replace(world.admissions[0], number=2), replace(world.admissions[1], number=1)]
    world.tickets = [replace(world.tickets[0], number=2), replace(world.tickets[1], number=1)]


def a_ticket_with_anothers_number(world: World) -> None:
    world.tickets[0] = replace(world.tickets[0], number=5)


def orders_swapped_in_the_log(world: World) -> None:
    world.log[0], world.log[1] = world.log[1], world.log[0]


def later_asked_and_earlier_placed(world: World) -> None:
    fans = world.fans
    for call in fans["c"].calls:
        call.sequence = 0
    fans["c"].calls[0].sequence = 1
    fans["a"].calls[0].sequence = 3


def more_tickets_than_there_are(world: World) -> None:
    world.tickets.append(Ticket("t-c", "c", 3, 3, "confirmed", 104.0))
    world.stock = replace(world.stock, reserved=3)


def a_reservation_that_nobody_has(world: World) -> None:
    world.stock = replace(world.stock, reserved=3)


def a_ticket_without_an_admission(world: World) -> None:
    world.admissions.pop()


def a_ticket_of_a_stranger(world: World) -> None:
    world.tickets[1] = replace(world.tickets[1], user_id="stranger")


def not_in_the_inbox(world: World) -> None:
    world.inbox.pop(0)


def not_in_the_log(world: World) -> None:
    world.log = [record for record in world.log if record.topic != "notification"]


def the_socket_stayed_silent(world: World) -> None:
    world.fans["a"].told[0].via = "inbox"


def still_waiting_to_be_told(world: World) -> None:
    world.fans["b"].done = False


def moved_back_in_the_line(world: World) -> None:
    world.fans["b"].calls[1].position = 3


def an_orphan(world: World) -> None:
    world.line = replace(world.line, claims=[Claim("d", 9, 60.0)])


def a_good_message_is_dead(world: World) -> None:
    world.dead.append(DeadLetter("ticket-issue.dlq-0@0", "ticket-issue-0@1", "no reason", "7.1"))


def a_bad_message_is_not_dead(world: World) -> None:
    world.about["bad"] = frozenset({"ticket-issue-0@7"})


def never_sent(world: World) -> None:
    world.stock = replace(world.stock, unsent=1)


def a_tally_that_miscounts(world: World) -> None:
    world.stock = replace(world.stock, confirmed=1)


def a_line_that_miscounts(world: World) -> None:
    world.line = replace(world.line, counters={**world.line.counters, "joined": 4})


def scattered_over_partitions(world: World) -> None:
    world.log[1] = replace(world.log[1], partition=5)


def shown_anothers_ticket(world: World) -> None:
    world.fans["c"].told.append(Told("issued:t-a", "ticket:issued", 36.0, "socket", "t-a", "e"))


def admitted_too_fast(world: World) -> None:
    world.admissions[1] = replace(world.admissions[1], at=100.2)


def left_for_good(world: World) -> None:
    world.fans["c"].calls.append(Call("leave", 34.5, 0, 34.6, "left", 3))
    world.fans["c"].end = "left"


WRONGS: list[tuple[Callable[[World], None], str]] = [
    (the_ticket_is_gone, "lost"),
    (left_and_admitted, "lost"),
    (a_ticket_and_still_waiting, "lost"),
    (a_fan_never_got_in, "joined"),
    (a_place_vanished, "lost"),
    (left_for_good, "left"),
    (two_live_tickets, "doubled"),
    (a_ticket_and_a_refusal, "doubled"),
    (two_places_without_leaving, "doubled"),
    (told_under_two_ids, "doubled"),
    (two_rows_for_one_ticket, "doubled"),
    (two_message_ids_for_one_ticket, "doubled"),
    (one_message_id_with_two_contents, "doubled"),
    (shown_two_tickets, "doubled"),
    (numbers_against_the_line, "out of order"),
    (a_ticket_with_anothers_number, "out of order"),
    (orders_swapped_in_the_log, "out of order"),
    (later_asked_and_earlier_placed, "out of order"),
    (more_tickets_than_there_are, "oversold"),
    (more_tickets_than_there_are, "tickets"),
    (a_reservation_that_nobody_has, "books"),
    (the_ticket_is_gone, "books"),
    (never_sent, "books"),
    (a_tally_that_miscounts, "books"),
    (a_line_that_miscounts, "books"),
    (scattered_over_partitions, "out of order"),
    (shown_anothers_ticket, "overheard"),
    (an_orphan, "orphans"),
    (a_good_message_is_dead, "dead letters"),
    (a_bad_message_is_not_dead, "dead letters"),
    (a_ticket_without_an_admission, "from nowhere"),
    (a_ticket_of_a_stranger, "from nowhere"),
    (not_in_the_inbox, "untold"),
    (not_in_the_log, "untold"),
    (not_in_the_log, "sold out"),
    (the_socket_stayed_silent, "untold"),
    (still_waiting_to_be_told, "untold"),
    (moved_back_in_the_line, "moved back"),
    (admitted_too_fast, "too fast"),
]


@pytest.mark.parametrize(("wrong", "line"), WRONGS, ids=lambda value: getattr(value, "__name__", value))
def test_a_wrong_makes_its_line_fail(wrong: Callable[[World], None], line: str) -> None:
    world = World()
    wrong(world)
    verdict = world.verdict()
    assert not verdict.line(line).kept
    assert not verdict.right


def test_a_place_after_leaving_is_another_place() -> None:
    world = World()
    world.fans["c"].calls[1:1] = [
        Call("leave", 31.1, 0, 31.2, "left", 3),
        Call("join", 31.3, 0, 31.4, "waiting", 4, 9),
    ]
    world.fans["c"].calls[3].sequence = 4
    world.departures = [Departure("c", 4, "sold_out")]
    assert world.verdict().right


def test_a_lost_answer_widens_the_interval_and_accuses_nobody() -> None:
    """b's first try got the place long before its answer, so b may stand before a, who was answered earlier."""
    fans = World().fans
    fans["a"].calls[0].invoked_at, fans["a"].calls[0].answered_at, fans["a"].calls[0].sequence = 10.0, 11.0, 2
    fans["b"].calls[0].invoked_at, fans["b"].calls[0].answered_at, fans["b"].calls[0].sequence = 9.0, 20.0, 1
    assert order.out_of_order([fans["a"], fans["b"]], EMPTY) == []


def test_two_calls_at_once_may_be_answered_in_any_order() -> None:
    fan = History(
        user_id="a",
        calls=[Call("join", 1.0, 0, 3.0, "waiting", 5, 9), Call("join", 1.0, 0, 2.0, "waiting", 5, 7)],
    )
    assert conduct.grew([fan]) == []


MOVED = [Call("join", 1.0, 0, 2.0, "waiting", 5, 7), Call("position", 8.0, 0, 9.0, "waiting", 5, 12)]


def test_a_position_may_grow_only_across_an_announced_recovery() -> None:
    fan = History(user_id="a", event_id="e", calls=MOVED)
    assert len(conduct.grew([fan])) == 1
    assert len(conduct.grew([fan], [Recovery("other", 3.0, 4.0), Recovery("e", 10.0, 11.0)])) == 1
    assert conduct.grew([fan], [Recovery("e", 3.0, 4.0)]) == []


def test_a_position_that_was_answered_while_recovering_binds_nobody() -> None:
    calls = [MOVED[0], replace(MOVED[1], recovering=True), replace(MOVED[1], invoked_at=10.0, answered_at=11.0)]
    assert len(conduct.grew([History(user_id="a", event_id="e", calls=calls[:2])])) == 0
    assert len(conduct.grew([History(user_id="a", event_id="e", calls=calls)])) == 1


def test_who_still_waits_who_left_and_who_is_claimed_for_nothing_are_not_lost() -> None:
    """The line need not be drained: it is enough that everybody is exactly one of these."""
    world = World()
    for n, name in ((4, "waits"), (5, "left"), (6, "held")):
        world.fans[name] = History(
            user_id=name, event_id="e", quit=True, calls=[Call("join", n * 10.0, 0, n * 10.0 + 1, "waiting", n, 1)]
        )
    world.fans["left"].calls.append(Call("leave", 59.0, 0, 60.0, "left", 5))
    world.line = replace(
        world.line,
        waiting={"waits": 4},
        claims=[Claim("held", 6, 99.0)],
        held=True,
        counters={"joined": 6, "left": 1, "admitted": 2, "departed": 1},
    )
    found = judge(PLAN, world.run, CROWD)
    assert [line.name for line in found.lines if line.invariant and not line.kept] == []
    world.line = replace(world.line, waiting={})
    assert not judge(PLAN, world.run, CROWD).line("lost").kept


def test_a_call_without_an_answer_may_have_happened_or_not() -> None:
    """An unknown join that became a ticket, and an unknown leave after which the place is gone: both are possible."""
    world = World()
    world.fans["a"].calls = [Call("join", 10.0, 1)]
    world.fans["a"].quit = True
    world.fans["c"].calls = [Call("join", 30.0, 0, 31.0, "waiting", 3, 3), Call("leave", 32.0, 1)]
    world.fans["c"].quit, world.departures = True, []
    world.line = replace(world.line, counters={})
    found = judge(PLAN, world.run, CROWD)
    assert [(line.name, line.examples) for line in found.lines if line.invariant and not line.kept] == []


def test_a_finding_says_where_the_trail_of_a_lost_user_ends() -> None:
    world = World()
    world.tickets.pop()
    found = " ".join(world.verdict().line("lost").examples)
    assert "e/b" in found and "settle, ticket-issue-0@1" in found


def test_a_claim_is_no_orphan_while_the_recovery_has_time() -> None:
    world = World()
    an_orphan(world)
    world.about["healed_at"] = world.line.read_at - 5.0
    assert world.verdict().line("orphans").kept
    world.about["healed_at"] = world.line.read_at - 15.0
    assert not world.verdict().line("orphans").kept


def test_what_was_made_to_be_bad_may_die() -> None:
    world = World()
    world.dead.append(DeadLetter("ticket-issue.dlq-0@0", "ticket-issue-0@7", "forged", "x"))
    world.about["bad"] = frozenset({"ticket-issue-0@7"})
    assert world.verdict().right


def test_an_operators_act_is_a_ticket_from_somewhere() -> None:
    world = World()
    del world.fans["b"]
    assert not world.verdict().line("from nowhere").kept
    world.about["acts"] = frozenset({("e", "b")})
    assert world.verdict().line("from nowhere").kept


def test_histories_are_read_as_they_were_written(tmp_path: Path) -> None:
    fans = list(World().fans.values())
    history.write(tmp_path / "histories.jsonl", fans)
    assert history.read(tmp_path / "histories.jsonl") == fans
    assert len((tmp_path / "histories.jsonl").read_text().splitlines()) == len(fans)


def test_a_repeat_in_the_log_does_no_harm_and_is_counted() -> None:
    world = World()
    world.log.append(replace(_issued("a", 2)))
    world.log.append(replace(_order("a", 1, 2), message_id="7.0"))
    verdict = world.verdict()
    assert verdict.right
    assert verdict.facts.repeats_in_log == 2


def test_the_same_id_shown_again_is_no_second_telling() -> None:
    world = World()
    world.fans["a"].told.append(replace(world.fans["a"].told[0], at=99.0))
    verdict = world.verdict()
    assert verdict.right
    assert verdict.facts.shown_again == 1


def test_who_found_it_sold_out_on_coming_is_owed_no_notification() -> None:
    world = World()
    world.fans["c"] = History(
        user_id="c",
        arrived_at=30.0,
        ended_at=31.0,
        end="sold_out",
        at_the_door=True,
        done=True,
        calls=[Call("join", 30.0, 0, 31.0, "sold_out")],
    )
    world.departures, world.inbox, world.log = [], world.inbox[:2], world.log[:4]
    assert world.verdict().right


def admitted(admissions: list[Admission]) -> Book:
    return replace(EMPTY, admissions=admissions)


def test_a_burst_is_allowed_once() -> None:
    together = [Admission(f"u{n}", n, n, "line", 100.0) for n in range(1, 6)]
    assert conduct.too_fast(admitted(together), Pace(rate=1.0, burst=5)) == []
    one_more = [*together, Admission("u6", 6, 6, "line", 100.1)]
    assert len(conduct.too_fast(admitted(one_more), Pace(rate=1.0, burst=5))) == 1


def test_a_rate_that_changed_while_it_ran_is_given_with_the_run() -> None:
    world = World()
    admitted_too_fast(world)
    world.about["paces"] = {"e": Pace(rate=100.0, burst=2)}
    assert world.verdict().right


def test_a_shops_own_issue_does_not_count_against_the_rate_or_the_line() -> None:
    direct = admitted([Admission(f"u{n}", -n, n, "direct", 100.0) for n in range(1, 6)])
    assert conduct.too_fast(direct, Pace(rate=1.0, burst=1)) == []
    assert order.out_of_order([], direct) == []


def test_percentiles_are_values_that_occurred() -> None:
    found = span([float(n) for n in range(1, 101)])
    assert (found.p50, found.p99, found.max) == (50.0, 99.0, 100.0)
    assert span([]).p50 is None
