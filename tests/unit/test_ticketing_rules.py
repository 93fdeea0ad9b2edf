"""What the ticketing stage decides without any server."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairgate.domain.ticket import Ticket, TicketStatus
from fairgate.stores.tickets import Issued, Order, SettledBefore
from fairgate.streams.dead_letters import Reader
from fairgate.streams.records import Batch, Headers, Ownership, Record, Sendable
from fairgate.ticketing.conclude import Conclude
from fairgate.ticketing.orders import TRACED_LOOKS, Announcement, Unreadable, order_of, orders_of
from fairgate.ticketing.parked import AGAIN_MAX_S, PARKED_MAX, WAIT_S, Parked
from fairgate.ticketing.progress import Progress

GOOD = {"userId": "u1", "eventId": "e1", "sequence": 7, "number": 3, "timestamp": 1}


def record(value: bytes | None = b"", offset: int = 0, partition: int = 0, headers: Headers | None = None) -> Record:
    return Record("t", partition, offset, b"e1", value, headers or [], 0)


def told(order: Order | Unreadable) -> object:
    return order if isinstance(order, Unreadable) else (order.source, msgspec.structs.asdict(order.issue))


class TestOrders:
    def test_an_order_names_its_record_by_topic_id_partition_and_offset(self) -> None:
        order = order_of(record(json.dumps(GOOD).encode(), offset=12, partition=4), "abc")
        assert isinstance(order, Order)
        assert order.source == "abc-4@12"
        assert (order.issue.user_id, order.issue.event_id, order.issue.sequence) == ("u1", "e1", 7)

    def test_unknown_fields_are_ignored(self) -> None:
        assert isinstance(order_of(record(json.dumps(GOOD | {"later": [1]}).encode()), "abc"), Order)

    @pytest.mark.parametrize(
        "value",
        [
            None,
            b"",
            b"null",
            b"[]",
            b"{",
            b"\xff",
            b'"text"',
            *(json.dumps({name: value for name, value in GOOD.items() if name != left}).encode() for left in GOOD),
            json.dumps(GOOD | {"userId": "a b"}).encode(),
            json.dumps(GOOD | {"eventId": "x" * 65}).encode(),
            json.dumps(GOOD | {"sequence": "7"}).encode(),
            json.dumps(GOOD | {"sequence": 2**63}).encode(),
            json.dumps(GOOD | {"sequence": -(2**70)}).encode(),
            json.dumps(GOOD | {"userId": "a\0"}).encode(),
            json.dumps(GOOD | {"userId": "a\n"}).encode(),
            json.dumps(GOOD | {"number": 10**40}).encode(),
            json.dumps(GOOD | {"timestamp": 10**40}).encode(),
            json.dumps(GOOD).encode()[:-1] + b',"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        ],
    )
    def test_what_is_no_order_says_why(self, value: bytes | None) -> None:
        outcome = order_of(record(value), "abc")
        assert isinstance(outcome, Unreadable) and outcome.reason
        good = record(json.dumps(GOOD).encode(), offset=1)
        before, among, behind = orders_of([good, record(value), good], "abc")
        assert among == outcome and told(before) == told(behind) == told(order_of(good, "abc"))

    @given(st.binary(max_size=200))
    def test_no_bytes_at_all_break_the_reading(self, value: bytes) -> None:
        assert isinstance(order_of(record(value), "abc"), Order | Unreadable)
        assert [order_of(record(value), "abc")] == orders_of([record(value)], "abc")

    @given(st.lists(st.text("aZ9_.:@-\n é\0", max_size=66), max_size=5), st.sampled_from(["e1", "e\n1", ""]))
    def test_many_are_read_as_each_of_them(self, users: list[str], event_id: str) -> None:
        orders = [GOOD | {"userId": user, "eventId": event_id} for user in users]
        records = [record(json.dumps(order).encode(), offset) for offset, order in enumerate(orders)]
        said = [(type(each).__name__, told(each)) for each in orders_of(records, "abc")]
        assert said == [(type(each).__name__, told(each)) for each in (order_of(each, "abc") for each in records)]


def ticket(status: TicketStatus, hold: timedelta | None) -> Ticket:
    issued_at = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
    return Ticket(
        ticket_id="id-1",
        event_id="e1",
        user_id="u1",
        sequence=7,
        number=3,
        status=status,
        issued_at=issued_at,
        expires_at=None if hold is None else issued_at + hold,
    )


class TestAnnouncements:
    def test_it_is_keyed_by_the_user_and_named_by_the_ticket(self) -> None:
        message = Announcement("ticket-issued", ticket(TicketStatus.CONFIRMED, None), record())
        assert (message.topic, message.key) == ("ticket-issued", "u1")
        assert dict(message.headers)["ce_id"] == b"issued:id-1"
        fact = json.loads(message.value or b"")
        assert fact["status"] == "confirmed" and fact["timestamp"] == 1767323045678 and fact["expiresAt"] is None

    @pytest.mark.parametrize("later", list(TicketStatus))
    def test_a_repeat_says_the_same_whatever_became_of_the_ticket(self, later: TicketStatus) -> None:
        hold = timedelta(minutes=5)
        first = Announcement("t", ticket(TicketStatus.PENDING, hold), record())
        again = Announcement("t", ticket(later, hold), record())
        assert (again.key, again.value, again.headers) == (first.key, first.value, first.headers)

    def test_only_trace_headers_are_passed_on(self) -> None:
        cause = record(headers=[("traceparent", b"00-1"), ("ce_id", b"old"), ("cookie", b"secret")])
        headers = Announcement("t", ticket(TicketStatus.CONFIRMED, None), cause).headers
        assert ("traceparent", b"00-1") in headers
        assert "cookie" not in dict(headers) and dict(headers)["ce_id"] == b"issued:id-1"

    def test_no_header_of_the_cause_makes_an_announcement_too_large(self) -> None:
        flood: Headers = [("traceparent", b"0"), ("tracestate", b"x" * 900_000)] * 1_000
        headers = Announcement("t", ticket(TicketStatus.CONFIRMED, None), record(headers=flood)).headers
        assert [name for name, _ in headers].count("traceparent") == 1 and "tracestate" not in dict(headers)


class TestCrowd:
    """A batch in which every ticket is made now is concluded as a whole, and comes to the same."""

    conclude = Conclude("ticket-issued", Reader("group", "instance"))
    issued = Issued(ticket(TicketStatus.CONFIRMED, None))

    @pytest.mark.parametrize("headers", [[], [("traceparent", b"00-1")]], ids=["untraced", "traced"])
    def test_it_comes_to_what_each_record_comes_to(self, headers: Headers) -> None:
        records = [record(offset=offset, headers=headers) for offset in range(300)]
        each = [self.conclude(one, self.issued, Parked()).message for one in records]
        crowd = self.conclude.crowd(records, [self.issued] * len(records))
        assert [sent(message) for message in crowd] == [sent(message) for message in each if message]

    def test_where_one_is_no_new_ticket_each_is_looked_at(self) -> None:
        judgements = [self.issued, SettledBefore()]
        assert self.conclude.crowd([record(offset=0), record(offset=1)], judgements) == []

    def test_a_trace_of_a_few_is_found_in_a_small_batch(self) -> None:
        records = [record(offset=0), record(offset=1, headers=[("traceparent", b"00-1")])]
        _, traced = self.conclude.crowd(records, [self.issued] * 2)
        assert ("traceparent", b"00-1") in traced.headers

    def test_of_an_untraced_crowd_few_headers_are_made(self) -> None:
        asked: list[int] = []

        def made_now() -> Headers:
            asked.append(1)
            return []

        made = [msgspec.structs.replace(record(), kept_headers=made_now) for _ in range(10_000)]
        for message in self.conclude.crowd(made, [self.issued] * len(made)):
            assert message.headers
        assert 0 < len(asked) <= TRACED_LOOKS


def sent(message: Sendable) -> tuple[object, ...]:
    return message.topic, message.key, message.value, message.headers


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class TestParked:
    def test_a_record_waits_its_time_and_not_longer(self) -> None:
        clock = Clock()
        parked = Parked(clock)
        assert parked.park(record(offset=5)).again
        clock.now += WAIT_S - 0.01
        assert parked.park(record(offset=5)).again and len(parked) == 1
        clock.now += 0.02
        last = parked.park(record(offset=5))
        assert not last.again and last.attempts == 3 and len(parked) == 0

    def test_it_is_asked_for_again_with_growing_pauses_and_once_more_at_the_end(self) -> None:
        clock, asked = Clock(), []
        parked = Parked(clock)
        trial = parked.park(record(offset=5))
        while trial.again:
            clock.now += 0.01
            if parked.due():
                asked.append(clock.now - 100.0)
                trial = parked.park(record(offset=5))
        pauses = [later - earlier for earlier, later in pairwise([0.0, *asked])]
        assert len(asked) < 10 and max(pauses) <= AGAIN_MAX_S + 0.02
        assert pauses[:4] == sorted(pauses[:4]) and asked[-1] == pytest.approx(WAIT_S, abs=0.02)

    def test_nothing_is_committed_past_the_first_record_that_waits(self) -> None:
        parked = Parked(Clock())
        for offset in (9, 5, 7):
            parked.park(record(offset=offset))
        assert parked.committable(("t", 0), 20) == 5
        assert parked.committable(("t", 1), 20) == 20
        parked.settled(record(offset=5))
        assert parked.committable(("t", 0), 20) == 7

    def test_a_flood_of_forged_records_does_not_fill_the_memory(self) -> None:
        parked = Parked(Clock())
        assert sum(parked.park(record(offset=offset)).again for offset in range(3 * PARKED_MAX)) == PARKED_MAX


class TestProgress:
    def test_each_position_is_committed_once_and_under_its_claim(self) -> None:
        ownership = Ownership()
        ownership.take([("t", 0), ("t", 1)])
        progress = Progress()
        progress.concluded(_batch(ownership, (0, 4), (1, 9)))
        positions, claims = progress.to_commit()
        assert positions == {("t", 0): 5, ("t", 1): 10}
        assert all(ownership.token(where) == claim for where, claim in claims.items())
        assert progress.to_commit() == ({}, {})
        progress.concluded(_batch(ownership, (1, 10)))
        assert progress.to_commit()[0] == {("t", 1): 11}

    def test_what_waits_is_committed_when_it_is_settled_without_a_new_record(self) -> None:
        ownership = Ownership()
        ownership.take([("t", 0)])
        progress = Progress()
        progress.parked.park(record(offset=4))
        progress.concluded(_batch(ownership, (0, 4), (0, 5)))
        assert progress.to_commit()[0] == {("t", 0): 4}
        progress.parked.settled(record(offset=4))
        assert progress.to_commit()[0] == {("t", 0): 6}

    def test_a_partition_that_went_and_came_back_starts_afresh(self) -> None:
        ownership = Ownership()
        ownership.take([("t", 0)])
        progress = Progress()
        progress.parked.park(record(offset=4))
        progress.concluded(_batch(ownership, (0, 4)))
        ownership.drop([("t", 0)])
        ownership.take([("t", 0)])
        progress.keep_only(lambda where, claim: ownership.token(where) == claim)
        assert progress.to_commit() == ({}, {}) and len(progress.parked) == 0


def _batch(ownership: Ownership, *where: tuple[int, int]) -> Batch:
    records = [record(partition=partition, offset=offset) for partition, offset in where]
    claims = {r.where: ownership.token(r.where) or 0 for r in records}
    return Batch(records, claims, None, ownership)
