"""Security of the bus: whoever may write to `ticket-issue` gets dead letters, and no ticket; the good do not wait."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairgate.domain.messages import TicketIssue
from fairgate.stores.database import Database
from fairgate.ticketing.parked import PARKED_MAX
from tests.conftest import Servers
from tests.integration.test_notification_stage import Stage
from tests.integration.test_ticketing_stage import until
from tests.support.ticketing import FIRST, Books, Broker, encoded, ticketing

FORGED, GOOD = 1_000, 50


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


def forgeries(true: TicketIssue) -> dict[str, bytes]:
    """Each kind of lie about an admission that exists, and each kind of nonsense."""
    good = json.loads(encoded(true))

    def but(**changes: object) -> bytes:
        return json.dumps({**good, **changes}).encode()

    return {
        "nobody was admitted": but(userId="thief", sequence=FIRST + 10_000),
        "another sequence": but(sequence=true.sequence + 5_000),
        "another event": but(eventId="another"),
        "another number": but(number=true.number + 5_000),
        "another user in the same place": but(userId="thief"),
        "a direct issue": but(userId="thief", sequence=-1),
        "broken": encoded(true).encode()[:-2],
        "no UTF-8": b"\xff\xfe" + encoded(true).encode(),
        "huge": but(padding="x" * 400_000),
        "huge and false": but(padding="x" * 400_000, userId="thief"),
        "a NUL": but(userId="u\0"),
        "a line's end behind the id": but(userId=true.user_id + "\n"),
        "a field is missing": json.dumps({k: v for k, v in good.items() if k != "sequence"}).encode(),
        "a wrong type": but(number="1"),
        "beyond 64 bits": but(sequence=2**64),
        "far beyond": but(number=10**50),
        "deep": encoded(true).encode()[:-1] + b',"x":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
        "no document": b"",
    }


HONEST = {"huge"}  # padding is an unknown field: as it says the truth, it is an order like any other


async def test_every_kind_of_forgery_is_a_dead_letter_and_no_ticket(
    servers: Servers, books: Books, broker: Broker, event_id: str
) -> None:
    await books.event(event_id)
    *victims, last = await books.admit(event_id, [f"u{i}" for i in range(4)])
    lies = [value for true in victims for name, value in forgeries(true).items() if name not in HONEST]
    async with ticketing(broker, servers.postgres_dsn) as stage:
        await broker.send(broker.names.ticket_issue, [(event_id, value) for value in [*lies, encoded(last)]])
        await until(stage.signals["issued"], 1)
        await until(stage.signals["dead"], len(lies))
        assert [row["user_id"] for row in await books.tickets(event_id)] == [last.user_id]
        await broker.order(victims)
        await until(stage.signals["issued"], 4)
    assert [row["number"] for row in await books.tickets(event_id)] == [1, 2, 3, 4]


async def test_a_thousand_forged_orders_delay_no_good_one(
    servers: Servers, books: Books, broker: Broker, event_id: str
) -> None:
    """All in one partition, the good in between. They are announced before the first forged one is given up."""
    await books.event(event_id)
    issues = await books.admit(event_id, [f"u{i}" for i in range(GOOD)])
    forged = [
        TicketIssue(user_id=f"thief{i}", event_id=event_id, sequence=FIRST + 9_000 + i, number=9_000 + i, timestamp=1)
        for i in range(FORGED)
    ]
    mixed = [*forged, *issues]
    random.Random(7).shuffle(mixed)
    assert len(forged) <= PARKED_MAX
    async with ticketing(broker, servers.postgres_dsn) as stage:
        await broker.order(mixed)
        await until(stage.signals["issued"], GOOD)
        await until(stage.signals["dead"], FORGED)
    announced = await broker.read(broker.names.ticket_issued)
    buried = await broker.read(broker.names.dead_letters(broker.names.ticket_issue))
    assert len(announced) == GOOD and len(buried) == FORGED
    assert len(await books.tickets(event_id)) == GOOD
    reasons = Counter(dict(letter.headers())["fg_reason_type"] for letter in buried)
    assert reasons == {b"unknown-admission": FORGED}
    assert all(int(dict(letter.headers())["fg_attempts"]) > 1 for letter in buried)
    first_death = min(int(dict(letter.headers())["fg_failed_at"]) for letter in buried)
    assert max(message.timestamp()[1] for message in announced) < first_death


async def test_forged_facts_and_messages_tell_nobody(servers: Servers, books: Books, broker: Broker) -> None:
    stage = Stage(broker.config, books.database)
    ticket = "00000000-0000-7000-8000-000000000001"
    fact = {"userId": "u", "ticketId": ticket, "eventId": "e", "number": 1, "sequence": 1, "status": "pending"}
    message = {"messageId": "m", "userId": "u", "kind": "k", "title": "t", "body": "b", "timestamp": 1}
    facts = [fact | {"timestamp": 1}, fact, fact | {"ticketId": "x"}, b"\xff", b"", {"timestamp": 2**70}]
    messages = [
        message | {"messageId": f"issued:{ticket}"},
        message | {"data": json.loads('{"x":' * 40 + "1" + "}" * 40)},
        json.dumps(message).encode()[:-1] + b',"data":{"x":' + b"[" * 900 + b"]" * 900 + b"}}",
        message | {"data": {"x": "y" * 20_000}},
        message | {"title": "\0"},
        message | {"timestamp": 2**60},
        message | {"userId": "u\n"},
        b"[" * 100_000,
    ]
    await stage.start()
    try:
        await stage.send(stage.names.ticket_issued, *facts)
        await stage.send(stage.names.notification, *messages, message | {"messageId": "good"})
        await until(stage.service.signals["told"], 1)
        await until(stage.service.signals["dead"], len(facts) + len(messages))
    finally:
        await stage.stop()
    assert [note.id for note in stage.told.notes] == ["good"]


async def test_no_bytes_whatever_stop_a_stage(servers: Servers, books: Books, broker: Broker, event_id: str) -> None:
    """Each is a dead letter, and the good one behind them is served."""
    drawn: list[bytes] = []

    @settings(max_examples=150, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.one_of(st.binary(max_size=300), documents()))
    def draw(value: bytes) -> None:
        drawn.append(value)

    draw()
    await books.event(event_id)
    [good] = await books.admit(event_id, ["good"])
    notification = Stage(broker.config, books.database)
    await notification.start()
    try:
        async with ticketing(broker, servers.postgres_dsn) as stage:
            values = [(event_id, value) for value in drawn]
            for topic in (broker.names.ticket_issued, broker.names.ticket_issue):
                await broker.send(topic, [*values, (event_id, encoded(good))])
            await until(stage.signals["issued"], 1)
            await until(stage.signals["dead"], len(drawn))
            await until(notification.service.signals["told"], 1)
            await until(notification.service.signals["dead"], len(drawn) + 1)
    finally:
        await notification.stop()


def documents() -> st.SearchStrategy[bytes]:
    """Nearly messages: the right fields with values of every kind, never an admission or a ticket that exists."""
    names = ("userId", "eventId", "sequence", "number", "timestamp", "ticketId", "status", "data")
    value = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just("thief"),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=5,
    )
    return st.dictionaries(st.sampled_from(names), value).map(lambda document: json.dumps(document).encode())
