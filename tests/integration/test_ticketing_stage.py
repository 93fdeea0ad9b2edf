"""The stage `ticket-issue` → tickets → `ticket-issued` on a real Kafka and a real PostgreSQL."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from fairgate.domain.messages import TicketIssue
from fairgate.errors import Unavailable
from fairgate.lifecycle import Signal
from fairgate.stores.database import Database
from fairgate.stores.hints import decoded_hints
from fairgate.stores.inbox import InboxStore
from fairgate.stores.presence import Presence
from fairgate.stores.tickets import Order, Outcome
from fairgate.stores.valkey import client
from fairgate.streams.consumer import GroupConsumer
from fairgate.streams.transaction import TransactionFailed, Transactions, Unanswered
from fairgate.ticketing.hints import Hints
from fairgate.ticketing.settle import GROUP, Settle
from tests.conftest import Servers
from tests.support.ticketing import FIRST, Books, Broker, encoded, ticketing

WITHIN_S = 40.0


@pytest.fixture
async def books(servers: Servers) -> AsyncIterator[Books]:
    database = Database(servers.postgres_dsn)
    yield Books(database)
    await database.close()


@pytest.fixture
async def broker(servers: Servers, topic_prefix: str) -> Broker:
    broker = Broker(servers.config, topic_prefix)
    await broker.prepare()
    return broker


async def until_there_are(books: Books, event_id: str, tickets: int) -> None:
    for _ in range(int(WITHIN_S / 0.05)):
        if len(await books.tickets(event_id)) >= tickets:
            break
        await asyncio.sleep(0.05)
    assert len(await books.tickets(event_id)) == tickets


async def until(signal: Signal, count: int, within_s: float = WITHIN_S) -> None:
    async with signal.expect(max(0, count - signal.count), within_s):
        pass


def ids(messages: Sequence[Any]) -> list[str]:
    return [dict(message.headers())["ce_id"].decode() for message in messages]


async def test_who_is_connected_hears_of_the_ticket_before_kafka_does(
    servers: Servers, books: Books, broker: Broker, event_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the very words that the inbox will have."""
    heard, publish = asyncio.Event(), Transactions.publish

    async def late(transactions: Transactions, *arguments: Any) -> None:
        await asyncio.wait_for(heard.wait(), WITHIN_S)
        await publish(transactions, *arguments)

    monkeypatch.setattr(Transactions, "publish", late)
    await books.event(event_id)
    issues = await books.admit(event_id, ["away", "here"])
    valkey, store, process = client(servers.valkey_url), InboxStore(books.database), f"p-{event_id}"
    presence = Presence(valkey)
    async with (
        presence.listening(process) as ear,
        ticketing(broker, servers.postgres_dsn, issued=Hints(presence, store).issued) as stage,
    ):
        await presence.beat(process)
        await presence.change(process, ["here"], [])
        await broker.order(issues)
        [hint] = decoded_hints(await ear.hear(WITHIN_S) or "")
        heard.set()
        await until(stage.signals["issued"], 2)
    await presence.leave(process)
    await valkey.aclose()
    ticket_id = next(row["ticket_id"] for row in await books.tickets(event_id) if row["user_id"] == "here")
    [kept] = await store.notes_of((await store.tickets([ticket_id])).values())
    assert (hint.user_id, hint.id, hint.kind, bytes(hint.payload)) == kept


async def test_every_admission_is_announced_once_with_its_ticket(
    servers: Servers, books: Books, broker: Broker, event_id: str
) -> None:
    await books.event(event_id, capacity=500, hold_s=60)
    issues = await books.admit(event_id, [f"u{i}" for i in range(500)])
    async with ticketing(broker, servers.postgres_dsn) as stage:
        await broker.order(issues)
        await until(stage.signals["issued"], 500)
    announced = await broker.read(broker.names.ticket_issued)
    tickets = await books.tickets(event_id)
    assert sorted(ids(announced)) == sorted(f"issued:{row['ticket_id']}" for row in tickets)
    facts = {message.key().decode(): json.loads(message.value()) for message in announced}
    for row in tickets:
        fact = facts[row["user_id"]]
        assert (fact["ticketId"], fact["number"], fact["status"]) == (row["ticket_id"], row["number"], "pending")
    assert sum((await broker.committed(GROUP, broker.names.ticket_issue)).values()) + 5 * 1001 == 500
    assert stage.counts == {"issued": 500}


async def test_trace_headers_go_on_to_the_announcement(
    servers: Servers, books: Books, broker: Broker, event_id: str
) -> None:
    await books.event(event_id)
    [issue] = await books.admit(event_id, ["a"])
    async with ticketing(broker, servers.postgres_dsn) as stage:
        trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        await broker.send(broker.names.ticket_issue, [(event_id, encoded(issue))], [("traceparent", trace.encode())])
        await until(stage.signals["issued"], 1)
    [message] = await broker.read(broker.names.ticket_issued)
    headers = dict(message.headers())
    assert headers["traceparent"].decode() == trace
    assert headers["ce_type"] == b"fairgate.ticket-issued"


async def test_bad_records_go_to_the_dead_letters_and_their_neighbours_are_served(
    servers: Servers, books: Books, broker: Broker, event_id: str
) -> None:
    await books.event(event_id)
    issues = await books.admit(event_id, ["a", "b", "c"])
    bad = [b"{not json", b'{"userId":"x"}', b"\xff\xfe", b'{"userId":"a b","eventId":"e","sequence":1,"number":1}', b""]
    good = [encoded(issue).encode() for issue in issues]
    async with ticketing(broker, servers.postgres_dsn) as stage:
        mixed = [good[0], *bad[:3], good[1], *bad[3:], good[2]]
        await broker.send(broker.names.ticket_issue, [(event_id, value) for value in mixed])
        await until(stage.signals["issued"], 3)
        await until(stage.signals["dead"], 5)
    letters = await broker.read(broker.names.dead_letters(broker.names.ticket_issue))
    assert sorted(letter.value() or b"" for letter in letters) == sorted(bad)
    for letter in letters:
        cause = dict(letter.headers())
        assert cause["fg_topic"].decode() == broker.names.ticket_issue
        assert cause["fg_reason"] and cause["fg_offset"].isdigit() and cause["fg_failed_at"].isdigit()
    assert len(await books.tickets(event_id)) == 3


async def test_a_forged_order_gets_no_ticket_and_delays_nobody(
    servers: Servers, books: Books, broker: Broker, event_id: str
) -> None:
    await books.event(event_id)
    issues = await books.admit(event_id, ["a", "b"])
    forged = TicketIssue(user_id="thief", event_id=event_id, sequence=FIRST + 99, number=99, timestamp=1)
    async with ticketing(broker, servers.postgres_dsn) as stage:
        await broker.order([issues[0], forged, issues[1]])
        await until(stage.signals["issued"], 2)
        assert stage.counts["dead"] == 0, "the neighbours waited for the forged one"
        before = await broker.committed(GROUP, broker.names.ticket_issue)
        assert max(before.values()) == 1, "a commit went past a record that waits"
        await until(stage.signals["dead"], 1)
    after = await broker.committed(GROUP, broker.names.ticket_issue)
    assert max(after.values()) == 3
    [letter] = await broker.read(broker.names.dead_letters(broker.names.ticket_issue))
    assert dict(letter.headers())["fg_reason"] == b"no such admission"
    assert [row["user_id"] for row in await books.tickets(event_id)] == ["a", "b"]


async def test_an_admission_that_sql_shows_late_is_issued(
    servers: Servers, books: Books, broker: Broker, event_id: str
) -> None:
    await books.event(event_id)
    async with ticketing(broker, servers.postgres_dsn) as stage:
        issue = TicketIssue(user_id="a", event_id=event_id, sequence=FIRST, number=1, timestamp=1)
        await broker.order([issue])
        await until(stage.signals["parked"], 1)
        await books.admit(event_id, ["a"])
        await until(stage.signals["issued"], 1)
    assert stage.counts["dead"] == 0


async def test_repeats_of_the_relay_announce_nothing_twice(
    servers: Servers, books: Books, broker: Broker, event_id: str
) -> None:
    await books.event(event_id)
    issues = await books.admit(event_id, [f"u{i}" for i in range(20)])
    async with ticketing(broker, servers.postgres_dsn) as stage:
        await broker.order(issues)
        await until(stage.signals["issued"], 20)
        await broker.order(issues)
        await until(stage.signals["repeated"], 20)
    assert len(await broker.read(broker.names.ticket_issued)) == 20


async def test_a_failed_transaction_announces_the_same_tickets_again(
    servers: Servers, books: Books, broker: Broker, event_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process does not die, but nothing reaches Kafka for a while: as after a crash between SQL and Kafka."""
    await books.event(event_id)
    issues = await books.admit(event_id, [f"u{i}" for i in range(30)])
    publish, failures = Transactions.publish, [TransactionFailed("cut"), TransactionFailed("cut")]

    async def failing(self: Transactions, messages: Sequence[Any], *rest: Any) -> None:
        if messages and failures:
            raise failures.pop()
        await publish(self, messages, *rest)

    monkeypatch.setattr(Transactions, "publish", failing)
    async with ticketing(broker, servers.postgres_dsn) as stage:
        await broker.order(issues)
        await until(stage.signals["announced_again"], 30)
        assert stage.signals["rewound"].count == 2
    tickets = await books.tickets(event_id)
    assert sorted(ids(await broker.read(broker.names.ticket_issued))) == sorted(
        f"issued:{row['ticket_id']}" for row in tickets
    )
    assert len(tickets) == 30


async def test_while_kafka_does_not_answer_tickets_are_made_and_then_all_is_announced_once(
    servers: Servers, books: Books, broker: Broker, event_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transaction that nobody answers is in doubt. Nothing is read again for it, and settling goes on."""
    await books.event(event_id)
    issues = await books.admit(event_id, [f"u{i}" for i in range(60)])
    publish, answers = Transactions.publish, asyncio.Event()

    async def unanswered(self: Transactions, messages: Sequence[Any], *rest: Any) -> None:
        if not answers.is_set():
            raise Unanswered("nobody there")
        await publish(self, messages, *rest)

    monkeypatch.setattr(Transactions, "publish", unanswered)
    async with ticketing(broker, servers.postgres_dsn) as stage:
        await broker.order(issues[:30])
        await until_there_are(books, event_id, 30)
        await broker.order(issues[30:])
        await until_there_are(books, event_id, 60)
        for _ in range(int(WITHIN_S / 0.05)):
            if stage.failing is not None:
                break
            await asyncio.sleep(0.05)
        assert stage.failing is not None
        assert await broker.read(broker.names.ticket_issued) == []
        answers.set()
        await until(stage.signals["issued"], 60)
        assert stage.signals["rewound"].count == 0
    tickets = await books.tickets(event_id)
    assert sorted(ids(await broker.read(broker.names.ticket_issued))) == sorted(
        f"issued:{row['ticket_id']}" for row in tickets
    )


async def test_what_is_settled_before_a_producer_is_ready_goes_with_the_first_transaction(
    servers: Servers, books: Books, broker: Broker, event_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start may wait for a transaction of the former process."""
    await books.event(event_id)
    issues = await books.admit(event_id, [f"u{i}" for i in range(30)])
    start, ready = Transactions.start, asyncio.Event()

    async def late(self: Transactions) -> None:
        await ready.wait()
        await start(self)

    monkeypatch.setattr(Transactions, "start", late)
    async with ticketing(broker, servers.postgres_dsn) as stage:
        await asyncio.sleep(1.2)  # rounds without anything in them come first
        await broker.order(issues)
        await until_there_are(books, event_id, 30)
        ready.set()
        await until(stage.signals["issued"], 30)
        assert stage.signals["rewound"].count == 0 and stage.counts == {"issued": 30}
    assert len(await broker.read(broker.names.ticket_issued)) == 30


async def test_a_transaction_that_came_through_unanswered_is_not_sent_again(
    servers: Servers, books: Books, broker: Broker, event_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await books.event(event_id)
    issues = await books.admit(event_id, [f"u{i}" for i in range(30)])
    publish, lost = Transactions.publish, [Unanswered("the answer was lost")]

    async def unanswered(self: Transactions, messages: Sequence[Any], *rest: Any) -> None:
        await publish(self, messages, *rest)
        if messages and lost:
            raise lost.pop()

    monkeypatch.setattr(Transactions, "publish", unanswered)
    async with ticketing(broker, servers.postgres_dsn) as stage:
        await broker.order(issues)
        await until(stage.signals["issued"], 30)
    assert not lost
    assert len(await broker.read(broker.names.ticket_issued)) == 30


async def test_partitions_that_went_in_the_meantime_are_left_to_who_has_them(
    servers: Servers, books: Books, broker: Broker, event_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a transaction is in doubt nobody holds up a revocation; what was gathered is dropped then."""
    await books.event(event_id)
    issues = await books.admit(event_id, [f"u{i}" for i in range(30)])
    publish, silent = Transactions.publish, asyncio.Event()

    async def unanswered(self: Transactions, messages: Sequence[Any], *rest: Any) -> None:
        if messages and not silent.is_set():
            raise Unanswered("nobody there")
        await publish(self, messages, *rest)

    monkeypatch.setattr(Transactions, "publish", unanswered)
    async with ticketing(broker, servers.postgres_dsn) as stage:
        await broker.order(issues)
        await until_there_are(books, event_id, 30)
        assert stage._consumer is not None
        await stage._consumer.rewind()  # as a revocation does: every claim ends
        silent.set()
        await until(stage.signals["announced_again"], 30)
    assert len(await broker.read(broker.names.ticket_issued)) == 30


async def test_a_crash_between_sql_and_kafka_makes_no_second_ticket(
    servers: Servers, books: Books, broker: Broker, event_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await books.event(event_id)
    issues = await books.admit(event_id, [f"u{i}" for i in range(30)])

    async def dead(self: Transactions, *arguments: Any) -> None:
        raise TransactionFailed("the process is gone")

    with monkeypatch.context() as patch:
        patch.setattr(Transactions, "publish", dead)
        async with ticketing(broker, servers.postgres_dsn) as stage:
            await broker.order(issues)
            await until(stage.signals["rewound"], 1)
    before = await books.tickets(event_id)
    assert len(before) == 30
    assert await broker.read(broker.names.ticket_issued) == []
    async with ticketing(broker, servers.postgres_dsn) as stage:
        await until(stage.signals["announced_again"], 30)
    assert await books.tickets(event_id) == before
    announced = await broker.read(broker.names.ticket_issued)
    assert sorted(ids(announced)) == sorted(f"issued:{row['ticket_id']}" for row in before)


async def test_without_transactions_each_ticket_is_announced_and_then_committed(
    servers: Servers, books: Books, broker: Broker, event_id: str
) -> None:
    await books.event(event_id)
    issues = await books.admit(event_id, [f"u{i}" for i in range(200)])
    async with ticketing(_without_transactions(broker), servers.postgres_dsn) as stage:
        await broker.order(issues)
        await until(stage.signals["issued"], 200)
    announced = ids(await broker.read(broker.names.ticket_issued))
    assert sorted(announced) == sorted(f"issued:{row['ticket_id']}" for row in await books.tickets(event_id))
    assert sum((await broker.committed(GROUP, broker.names.ticket_issue)).values()) + 5 * 1001 == 200


async def test_without_transactions_what_was_not_committed_is_announced_again_under_the_same_id(
    servers: Servers, books: Books, broker: Broker, event_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash between the two: no second ticket, and whoever reads the announcements can tell a repeat."""
    await books.event(event_id)
    issues = await books.admit(event_id, [f"u{i}" for i in range(30)])

    announcing = asyncio.Event()

    async def dead(self: GroupConsumer, *arguments: Any) -> None:
        announcing.set()
        raise Unavailable("the process is gone")

    with monkeypatch.context() as patch:
        patch.setattr(GroupConsumer, "commit_claimed", dead)
        async with ticketing(_without_transactions(broker), servers.postgres_dsn) as stage:
            await broker.order(issues)
            async with asyncio.timeout(30):
                await announcing.wait()
        assert stage.counts["issued"] == 0
    before = await books.tickets(event_id)
    async with ticketing(_without_transactions(broker), servers.postgres_dsn) as stage:
        await until(stage.signals["announced_again"], 30)
    assert await books.tickets(event_id) == before
    announced = ids(await broker.read(broker.names.ticket_issued))
    assert set(announced) == {f"issued:{row['ticket_id']}" for row in before}
    assert len(announced) > 30


def _without_transactions(broker: Broker) -> Broker:
    broker.config = broker.config.model_copy(update={"kafka_transactions": False})
    return broker


async def test_while_sql_is_down_nothing_is_committed_and_then_all_is_issued(
    servers: Servers, books: Books, broker: Broker, event_id: str
) -> None:
    class Flaky(Settle):
        down = True

        async def _settle(self, orders: Sequence[Order]) -> Any:
            if self.down and orders:
                self.signals["refused"].fire()
                raise Unavailable("PostgreSQL is down")
            return await super()._settle(orders)

    await books.event(event_id)
    issues = await books.admit(event_id, ["a", "b"])
    async with ticketing(broker, servers.postgres_dsn, stage=Flaky) as stage:
        await broker.order(issues)
        await until(stage.signals["refused"], 3)
        assert set((await broker.committed(GROUP, broker.names.ticket_issue)).values()) == {-1001}
        stage.down = False  # type: ignore[attr-defined]
        await until(stage.signals["issued"], 2)
    assert len(await broker.read(broker.names.ticket_issued)) == 2


async def test_data_that_sql_refuses_is_found_and_the_others_are_issued(
    servers: Servers, books: Books, broker: Broker, event_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fairgate.stores.tickets import DataRefused, TicketStore

    settle = TicketStore.settle

    async def choosy(self: TicketStore, orders: Sequence[Order]) -> list[Outcome]:
        if any(order.issue.user_id == "poison" for order in orders):
            raise DataRefused("invalid byte sequence")
        return await settle(self, orders)

    monkeypatch.setattr(TicketStore, "settle", choosy)
    await books.event(event_id)
    issues = await books.admit(event_id, [*(f"u{i}" for i in range(50)), "poison", *(f"v{i}" for i in range(50))])
    async with ticketing(broker, servers.postgres_dsn) as stage:
        await broker.order(issues)
        await until(stage.signals["issued"], 100)
        await until(stage.signals["dead"], 1)
    [letter] = await broker.read(broker.names.dead_letters(broker.names.ticket_issue))
    assert json.loads(letter.value())["userId"] == "poison"


async def test_two_processes_share_the_partitions_and_one_takes_over_from_the_other(
    servers: Servers, books: Books, broker: Broker, event_id: str
) -> None:
    events = [f"{event_id}-{i}" for i in range(24)]  # so many keys that every partition has one
    issues = []
    for event in events:
        await books.event(event)
        issues.append(await books.admit(event, [f"u{i}" for i in range(20)]))
    async with ticketing(broker, servers.postgres_dsn, "one") as one:
        await broker.order([batch[0] for batch in issues])
        await until(one.signals["issued"], 24)
        async with ticketing(broker, servers.postgres_dsn, "two") as two:
            sent = 1
            while not two.counts["issued"]:  # the group balances while the work goes on
                await broker.order([batch[sent] for batch in issues])
                sent += 1
                assert sent < 15
                with_two = two.signals["issued"].expect(1, 3.0)
                try:
                    async with with_two:
                        pass
                except TimeoutError:
                    continue
            await broker.order([issue for batch in issues for issue in batch[sent:19]])
        await broker.order([batch[19] for batch in issues])
        total = 24 * 20 - two.counts["issued"]
        await until(one.signals["issued"], total)
    assert one.counts["issued"] + two.counts["issued"] == 24 * 20
    announced = ids(await broker.read(broker.names.ticket_issued))
    assert len(set(announced)) == 24 * 20
    for event in events:
        assert len(await books.tickets(event)) == 20
