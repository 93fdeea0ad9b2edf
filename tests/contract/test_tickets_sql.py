"""What SQL promises about tickets, on a real PostgreSQL."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from fairgate.domain.messages import TicketIssue, TicketIssued
from fairgate.domain.ticket import Ticket, TicketStatus
from fairgate.errors import Conflict, KeyReused, NotFound, SoldOut, Unavailable, UnknownLine
from fairgate.stores.database import Database
from fairgate.stores.tickets import (
    DataRefused,
    Issued,
    Order,
    SettledBefore,
    SettledByThisRecord,
    Superseded,
    TicketStore,
    UnknownAdmission,
)
from fairgate.streams.records import Record
from fairgate.ticketing.expire import Expire
from fairgate.ticketing.orders import Announcement
from fairgate.ticketing.tickets import Tickets
from tests.conftest import Servers
from tests.support.ticketing import FIRST, Books, orders_from


@pytest.fixture
async def database(servers: Servers) -> AsyncIterator[Database]:
    database = Database(servers.postgres_dsn, size=24)
    yield database
    await database.close()


@pytest.fixture
def books(database: Database) -> Books:
    return Books(database)


@pytest.fixture
def store(database: Database) -> TicketStore:
    return TicketStore(database)


@pytest.fixture
def tickets(database: Database) -> Tickets:
    return Tickets(database)


class TestSettling:
    async def test_an_admission_becomes_a_ticket_with_its_number(
        self, books: Books, store: TicketStore, event_id: str
    ) -> None:
        await books.event(event_id, capacity=10)
        issues = await books.admit(event_id, ["a", "b", "c"])
        outcomes = await store.settle(orders_from(issues))
        assert all(isinstance(outcome, Issued) for outcome in outcomes)
        assert [o.ticket.number for o in outcomes if isinstance(o, Issued)] == [1, 2, 3]
        assert [row["user_id"] for row in await books.tickets(event_id)] == ["a", "b", "c"]
        assert await books.balance(event_id) == {
            "reserved": 3,
            "issued": 3,
            "confirmed": 3,
            "cancelled": 0,
            "expired": 0,
        }

    async def test_a_hold_makes_the_ticket_pending_for_that_long(
        self, books: Books, store: TicketStore, event_id: str
    ) -> None:
        await books.event(event_id, hold_s=300)
        [outcome] = await store.settle(orders_from(await books.admit(event_id, ["a"])))
        assert isinstance(outcome, Issued)
        assert outcome.ticket.status is TicketStatus.PENDING
        assert outcome.ticket.expires_at == outcome.ticket.issued_at + timedelta(seconds=300)
        assert (await books.balance(event_id))["confirmed"] == 0

    async def test_a_batch_over_events_gives_each_ticket_what_its_event_says(
        self, books: Books, store: TicketStore, event_id: str
    ) -> None:
        held = f"{event_id}-held"
        await books.event(event_id)
        await books.event(held, hold_s=60)
        at_once, for_a_while = await books.admit(event_id, ["a", "b"]), await books.admit(held, ["b", "c"])
        mixed = [at_once[0], for_a_while[0], at_once[1], for_a_while[1]]
        outcomes = await store.settle(orders_from(mixed))
        made = [outcome.ticket for outcome in outcomes if isinstance(outcome, Issued)]
        assert [(ticket.event_id, ticket.user_id, ticket.number) for ticket in made] == [
            (issue.event_id, issue.user_id, issue.number) for issue in mixed
        ]
        in_sql = {row["ticket_id"]: row for row in await books.tickets(event_id) + await books.tickets(held)}
        for ticket in made:
            assert {name: in_sql[ticket.ticket_id][name] for name in Ticket.__struct_fields__} == {
                name: getattr(ticket, name) for name in Ticket.__struct_fields__
            }
        assert (await books.balance(event_id))["confirmed"] == 2
        assert (await books.balance(held))["confirmed"] == 0

    async def test_one_repeat_in_a_batch_takes_nothing_from_the_others(
        self, books: Books, store: TicketStore, event_id: str
    ) -> None:
        await books.event(event_id)
        issues = await books.admit(event_id, ["a", "b", "c"])
        await store.settle(orders_from(issues[1:2], first_offset=100))
        outcomes = await store.settle(orders_from(issues))
        assert [type(outcome) for outcome in outcomes] == [Issued, SettledBefore, Issued]
        assert [row["number"] for row in await books.tickets(event_id)] == [1, 2, 3]
        assert (await books.balance(event_id))["issued"] == 3

    @pytest.mark.parametrize("hold_s", [None, 300])
    async def test_sql_and_ticketing_announce_a_ticket_in_the_same_bytes_whatever_became_of_it(
        self, books: Books, store: TicketStore, database: Database, event_id: str, hold_s: int | None
    ) -> None:
        """A repeat with another content would be two messages of one id, and nobody could say which is true."""
        await books.event(event_id, hold_s=hold_s)
        issues = await books.admit(event_id, [f"u-{number}" for number in range(50)])
        orders = orders_from(issues)
        await store.settle(orders)
        for made in await books.tickets(event_id):
            await Tickets(database).confirm(str(made["ticket_id"]), None)
        cause = Record("ticket-issue", 0, 0, None, b"", [], 0)
        again = [o.ticket for o in await store.settle(orders) if isinstance(o, SettledByThisRecord)]
        assert len(again) == 50
        async with database.connection() as connection:
            await connection.execute("select announce_ticket(t, 0) from tickets t where event_id = $1", event_id)
            rows = await connection.fetch("select payload from outbox where topic = 'ticket-issued' order by id")
        by_sql = {row["payload"].encode() for row in rows}
        assert {Announcement("ticket-issued", ticket, cause).value for ticket in again} <= by_sql

    async def test_the_same_record_again_gives_the_same_ticket(
        self, books: Books, store: TicketStore, event_id: str
    ) -> None:
        await books.event(event_id)
        orders = orders_from(await books.admit(event_id, ["a", "b"]))
        first, again = await store.settle(orders), await store.settle(orders)
        assert [SettledByThisRecord(o.ticket) for o in first if isinstance(o, Issued)] == again
        assert len(await books.tickets(event_id)) == 2

    async def test_another_record_for_the_same_admission_is_a_repeat(
        self, books: Books, store: TicketStore, event_id: str
    ) -> None:
        await books.event(event_id)
        issues = await books.admit(event_id, ["a"])
        await store.settle(orders_from(issues))
        assert await store.settle(orders_from(issues, first_offset=7)) == [SettledBefore()]
        assert await store.settle(orders_from(issues, topic_id="made-anew")) == [SettledBefore()]
        assert (await books.balance(event_id))["issued"] == 1

    async def test_an_admission_twice_in_one_batch_is_one_ticket(
        self, books: Books, store: TicketStore, event_id: str
    ) -> None:
        await books.event(event_id)
        [issue] = await books.admit(event_id, ["a"])
        outcomes = await store.settle(orders_from([issue, issue, issue]))
        assert isinstance(outcomes[0], Issued)
        assert outcomes[1:] == [SettledBefore(), SettledBefore()]
        assert (await books.balance(event_id))["issued"] == 1

    async def test_what_sql_does_not_know_is_unknown_and_its_neighbours_are_issued(
        self, books: Books, store: TicketStore, event_id: str
    ) -> None:
        await books.event(event_id)
        [issue] = await books.admit(event_id, ["a"])
        forged = [
            TicketIssue(user_id="thief", event_id=event_id, sequence=FIRST, number=1, timestamp=1),
            TicketIssue(user_id="a", event_id=event_id, sequence=FIRST + 1, number=1, timestamp=1),
            TicketIssue(user_id="a", event_id="no-such-event", sequence=FIRST, number=1, timestamp=1),
        ]
        outcomes = await store.settle(orders_from([forged[0], issue, *forged[1:]]))
        assert isinstance(outcomes[1], Issued)
        assert [outcomes[0], *outcomes[2:]] == [UnknownAdmission()] * 3

    async def test_who_let_the_first_ticket_go_gets_another_for_the_next_admission(
        self, books: Books, store: TicketStore, event_id: str
    ) -> None:
        await books.event(event_id)
        [outcome] = await store.settle(orders_from(await books.admit(event_id, ["a"])))
        assert isinstance(outcome, Issued)
        await store.move(outcome.ticket.ticket_id, None, TicketStatus.CANCELLED)
        later = await books.admit(event_id, ["a"], first_sequence=FIRST + 50)
        [second] = await store.settle(orders_from(later, first_offset=50))
        assert isinstance(second, Issued)
        assert second.ticket.number > outcome.ticket.number
        assert (await books.balance(event_id))["reserved"] == 1

    @pytest.mark.parametrize("together", [True, False])
    async def test_a_second_admission_of_a_holder_is_given_back(
        self, books: Books, store: TicketStore, event_id: str, together: bool
    ) -> None:
        await books.event(event_id, capacity=2)
        first = await books.admit(event_id, ["a"])
        second = await books.admit(event_id, ["a"], first_sequence=FIRST + 9)
        if together:
            outcomes = await store.settle(orders_from(first + second))
        else:
            outcomes = await store.settle(orders_from(first)) + await store.settle(orders_from(second, first_offset=1))
        assert isinstance(outcomes[0], Issued)
        assert outcomes[1] == Superseded()
        balance = await books.balance(event_id)
        assert (balance["reserved"], balance["cancelled"]) == (1, 1)
        assert await store.settle(orders_from(second, first_offset=70)) == [SettledBefore()]

    async def test_many_settle_the_same_admissions_at_once_and_each_is_settled_once(
        self, books: Books, store: TicketStore, event_id: str
    ) -> None:
        other = f"{event_id}-b"
        await books.event(event_id)
        await books.event(other)
        issues = await books.admit(event_id, [f"u{i}" for i in range(100)])
        issues += await books.admit(other, [f"u{i}" for i in range(100)])
        batches = [orders_from(issues, topic_id=f"t{n}") for n in range(4)]
        batches += [list(reversed(orders_from(issues, topic_id=f"r{n}"))) for n in range(4)]
        outcomes = [outcome for batch in await asyncio.gather(*map(store.settle, batches)) for outcome in batch]
        assert sum(isinstance(outcome, Issued) for outcome in outcomes) == 200
        assert sum(isinstance(outcome, SettledBefore) for outcome in outcomes) == 1_400
        assert (await books.balance(event_id))["issued"] == (await books.balance(other))["issued"] == 100

    async def test_refused_data_is_told_apart_from_a_database_that_does_not_answer(
        self, books: Books, store: TicketStore, event_id: str
    ) -> None:
        bad = TicketIssue(user_id="a\0b", event_id=event_id, sequence=1, number=1, timestamp=1)
        with pytest.raises(DataRefused):
            await store.settle([Order(bad, "t-0@0")])


class TestTheShopsOwnIssue:
    async def test_200_calls_at_once_for_one_user_make_one_ticket(
        self, books: Books, tickets: Tickets, event_id: str
    ) -> None:
        await books.event(event_id, capacity=100)
        answers = await asyncio.gather(*(tickets.issue("a", event_id, None, "shop") for _ in range(200)))
        assert len({ticket.ticket_id for ticket, _ in answers}) == 1
        assert sum(created for _, created in answers) == 1
        assert (await books.balance(event_id))["reserved"] == 1

    async def test_2000_claims_on_100_tickets_make_exactly_100_in_20_rounds(
        self, books: Books, tickets: Tickets, event_id: str
    ) -> None:
        for round_ in range(20):
            event = f"{event_id}-{round_}"
            await books.event(event, capacity=100)
            answers = await asyncio.gather(
                *(until_answered(tickets, f"u{i}", event) for i in range(2_000)), return_exceptions=True
            )
            assert sum(isinstance(answer, tuple) for answer in answers) == 100
            assert sum(isinstance(answer, SoldOut) for answer in answers) == 1_900
            balance = await books.balance(event)
            assert (balance["reserved"], balance["issued"]) == (100, 100)
            assert [row["number"] for row in await books.tickets(event)] == list(range(1, 101))

    async def test_it_settles_the_admission_that_waits_for_its_ticket(
        self, books: Books, tickets: Tickets, store: TicketStore, event_id: str
    ) -> None:
        await books.event(event_id, capacity=1)
        issues = await books.admit(event_id, ["a"])
        ticket, created = await tickets.issue("a", event_id, None, "shop")
        assert created and ticket.sequence == issues[0].sequence and ticket.number == issues[0].number
        assert await store.settle(orders_from(issues)) == [SettledBefore()]
        assert (await books.balance(event_id))["reserved"] == 1

    async def test_without_an_admission_it_is_recorded_as_the_shops_act(
        self, books: Books, tickets: Tickets, database: Database, event_id: str
    ) -> None:
        await books.event(event_id)
        ticket, _ = await tickets.issue("a", event_id, None, "shop")
        async with database.connection() as sql:
            row = await sql.fetchrow("select * from admissions where event_id = $1", event_id)
        assert row is not None
        assert (row["source"], row["sequence"], row["number"]) == ("direct", -ticket.number, ticket.number)

    async def test_the_announcement_is_in_the_outbox_once_and_readable(
        self, books: Books, tickets: Tickets, database: Database, event_id: str
    ) -> None:
        await books.event(event_id, hold_s=60)
        ticket, _ = await tickets.issue("a", event_id, None, "shop")
        await tickets.issue("a", event_id, None, "shop")
        async with database.connection() as sql:
            rows = await sql.fetch("select * from outbox where ids = $1", [f"issued:{ticket.ticket_id}"])
        assert len(rows) == 1 and rows[0]["topic"] == "ticket-issued" and rows[0]["keys"] == ["a"]
        fact = TicketIssued(**_snake(json.loads(rows[0]["payload"])))
        assert "\n" not in rows[0]["payload"]
        assert fact.message_id == f"issued:{ticket.ticket_id}"
        assert (fact.status, fact.number, fact.sequence) == ("pending", ticket.number, ticket.sequence)
        assert fact.timestamp == int(ticket.issued_at.timestamp() * 1000)
        assert ticket.expires_at is not None and fact.expires_at == int(ticket.expires_at.timestamp() * 1000)

    async def test_a_key_repeats_its_answer_even_after_a_cancellation(
        self, books: Books, tickets: Tickets, event_id: str
    ) -> None:
        await books.event(event_id)
        key = uuid.uuid4().hex
        first, _ = await tickets.issue("a", event_id, key, "shop")
        await tickets.cancel(first.ticket_id, None)
        again, created = await tickets.issue("a", event_id, key, "shop")
        assert (again.ticket_id, again.status, created) == (first.ticket_id, TicketStatus.CANCELLED, False)
        fresh, created = await tickets.issue("a", event_id, uuid.uuid4().hex, "shop")
        assert created and fresh.ticket_id != first.ticket_id

    async def test_a_key_with_another_payload_is_refused_and_belongs_to_its_caller(
        self, books: Books, tickets: Tickets, event_id: str
    ) -> None:
        await books.event(event_id)
        key = uuid.uuid4().hex
        await tickets.issue("a", event_id, key, "shop")
        with pytest.raises(KeyReused):
            await tickets.issue("b", event_id, key, "shop")
        _, created = await tickets.issue("b", event_id, key, "another shop")
        assert created

    async def test_one_key_for_two_events_at_once_is_accepted_once(
        self, books: Books, tickets: Tickets, event_id: str
    ) -> None:
        events = [f"{event_id}-{i}" for i in range(8)]
        for event in events:
            await books.event(event)
        key = uuid.uuid4().hex
        answers = await asyncio.gather(
            *(tickets.issue("a", event, key, "shop") for event in events), return_exceptions=True
        )
        assert sum(isinstance(answer, tuple) for answer in answers) == 1
        assert sum(isinstance(answer, KeyReused) for answer in answers) == 7

    async def test_an_unknown_event_is_said_to_be_unknown(self, tickets: Tickets) -> None:
        with pytest.raises(UnknownLine):
            await tickets.issue("a", "no-such-event", None, "shop")


class TestTheLifeOfATicket:
    async def test_a_confirmed_ticket_stays_confirmed_when_confirmed_again(
        self, books: Books, tickets: Tickets, event_id: str
    ) -> None:
        await books.event(event_id, hold_s=60)
        ticket, _ = await tickets.issue("a", event_id, None, "shop")
        for _ in range(2):
            assert (await tickets.confirm(ticket.ticket_id, "a")).status is TicketStatus.CONFIRMED
        assert await books.balance(event_id) == {
            "reserved": 1,
            "issued": 1,
            "confirmed": 1,
            "cancelled": 0,
            "expired": 0,
        }

    async def test_a_cancelled_ticket_goes_back_once_and_admission_hears_of_it(
        self, books: Books, tickets: Tickets, database: Database, event_id: str
    ) -> None:
        await books.event(event_id, capacity=1)
        ticket, _ = await tickets.issue("a", event_id, None, "shop")
        listener, heard = await database.dedicated(), asyncio.Event()
        await listener.add_listener("fairgate_lines", lambda *told: told[3] == event_id and heard.set())
        await asyncio.gather(*(tickets.cancel(ticket.ticket_id, "a") for _ in range(10)))
        async with asyncio.timeout(20):
            await heard.wait()
        await listener.close()
        assert (await books.balance(event_id))["reserved"] == 0
        with pytest.raises(Conflict):
            await tickets.confirm(ticket.ticket_id, "a")
        other, _ = await tickets.issue("b", event_id, None, "shop")
        assert other.number == 2

    async def test_anothers_ticket_is_as_good_as_none(self, books: Books, tickets: Tickets, event_id: str) -> None:
        await books.event(event_id, hold_s=60)
        ticket, _ = await tickets.issue("a", event_id, None, "shop")
        for ask in (tickets.get, tickets.confirm, tickets.cancel):
            for ticket_id, owner in ((ticket.ticket_id, "b"), (str(uuid.uuid4()), "a"), ("no-uuid", None)):
                with pytest.raises(NotFound):
                    await ask(ticket_id, owner)
        assert (await tickets.get(ticket.ticket_id, None)).status is TicketStatus.PENDING
        assert await tickets.get(ticket.ticket_id, "a") == ticket

    async def test_a_user_sees_the_own_tickets_newest_first(
        self, books: Books, tickets: Tickets, event_id: str, user_id: str
    ) -> None:
        for n in range(3):
            await books.event(f"{event_id}-{n}")
            await tickets.issue(user_id, f"{event_id}-{n}", None, "shop")
            await tickets.issue("somebody", f"{event_id}-{n}", None, "shop")
        assert [ticket.event_id[-1] for ticket in await tickets.of_user(user_id)] == ["2", "1", "0"]

    async def test_confirm_and_cancel_at_once_end_in_one_consistent_state(
        self, books: Books, tickets: Tickets, event_id: str
    ) -> None:
        await books.event(event_id, capacity=40, hold_s=60)
        made = [(await tickets.issue(f"u{i}", event_id, None, "shop"))[0] for i in range(40)]
        asks = [ask(ticket.ticket_id, None) for ticket in made for ask in (tickets.confirm, tickets.cancel)]
        answers = await asyncio.gather(*asks, return_exceptions=True)
        assert all(isinstance(answer, Conflict) for answer in answers if isinstance(answer, BaseException))
        balance = await books.balance(event_id)
        assert balance["cancelled"] == 40 and balance["reserved"] == 0


class TestHolds:
    async def _age(self, database: Database, event_id: str, seconds: float) -> None:
        async with database.connection() as sql:
            await sql.execute(
                "update tickets set expires_at = expires_at - make_interval(secs => $2) where event_id = $1",
                event_id,
                seconds,
            )

    async def test_a_hold_that_ran_out_returns_its_ticket(
        self, books: Books, tickets: Tickets, database: Database, event_id: str
    ) -> None:
        await books.event(event_id, capacity=3, hold_s=60)
        made = [(await tickets.issue(user, event_id, None, "shop"))[0] for user in "abc"]
        await tickets.confirm(made[0].ticket_id, None)
        told: list[str] = []

        async def changed(tickets: object) -> None:
            told.extend(ticket.ticket_id for ticket in tickets if ticket.event_id == event_id)  # type: ignore[attr-defined]

        expire = Expire(database, changed)
        await expire.run_once()
        await self._age(database, event_id, 61)
        await expire.run_once()
        assert sorted(told) == sorted(ticket.ticket_id for ticket in made[1:])
        assert (await tickets.get(made[0].ticket_id, None)).status is TicketStatus.CONFIRMED
        balance = await books.balance(event_id)
        assert (balance["reserved"], balance["expired"], balance["confirmed"]) == (1, 2, 1)

    async def test_a_hold_gets_back_the_time_in_which_fairgate_was_down(
        self, books: Books, tickets: Tickets, database: Database, event_id: str
    ) -> None:
        await books.event(event_id, hold_s=600)
        ticket, _ = await tickets.issue("a", event_id, None, "shop")
        expire = Expire(database)
        await expire.run_once()
        # Fairgate was down for an hour: the ticket was issued before, and ran out meanwhile.
        async with database.connection() as sql:
            await sql.execute("update heartbeats set at = at - interval '1 hour' where name = 'expire'")
            await sql.execute(
                "update tickets set issued_at = issued_at - interval '2 hours', "
                "expires_at = expires_at - interval '1 hour' where event_id = $1",
                event_id,
            )
        await expire.run_once()
        now = await tickets.get(ticket.ticket_id, None)
        assert now.status is TicketStatus.PENDING
        assert ticket.expires_at is not None and now.expires_at is not None
        assert abs((now.expires_at - ticket.expires_at).total_seconds()) < 5
        await expire.run_once()
        assert (await tickets.get(ticket.ticket_id, None)).expires_at == now.expires_at

    async def test_many_may_expire_at_once(
        self, books: Books, tickets: Tickets, database: Database, event_id: str
    ) -> None:
        await books.event(event_id, capacity=50, hold_s=60)
        await asyncio.gather(*(tickets.issue(f"u{i}", event_id, None, "shop") for i in range(50)))
        await Expire(database).run_once()
        await self._age(database, event_id, 61)
        await asyncio.gather(*(Expire(database).run_once() for _ in range(4)))
        balance = await books.balance(event_id)
        assert (balance["expired"], balance["reserved"]) == (50, 0)


async def until_answered(tickets: Tickets, user_id: str, event_id: str) -> tuple[Ticket, bool]:
    """As a shop does: who waited in vain for a connection, which a slow machine has too few of, asks again."""
    while True:
        try:
            return await tickets.issue(user_id, event_id, None, "shop")
        except Unavailable:
            await asyncio.sleep(0.1)


def _snake(document: dict[str, object]) -> dict[str, object]:
    names = {"userId": "user_id", "ticketId": "ticket_id", "eventId": "event_id", "expiresAt": "expires_at"}
    return {names.get(name, name): value for name, value in document.items()}
