"""The stage against real Kafka, SQL and Valkey: nobody untold, nobody told twice, no bad message in anybody's way."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient

from fairgate.config import Config
from fairgate.domain.place import Outcome, Status
from fairgate.errors import FairgateError, Unavailable
from fairgate.notification.channels import Channels
from fairgate.notification.dead_letters import DeadLetters
from fairgate.notification.inbox import Inbox
from fairgate.notification.outcomes import Outcomes
from fairgate.notification.tell import Notification
from fairgate.stores.database import Database
from fairgate.stores.hints import NotesFor
from fairgate.stores.inbox import InboxStore, Name, Note
from fairgate.streams import topics
from fairgate.streams.consumer import GroupConsumer
from fairgate.streams.settings import connection
from tests.conftest import Servers
from tests.support.ticketing import ticket_in_sql

pytestmark = pytest.mark.asyncio


class Remembered:
    """A channel and a cache that write down what they get; each fails while told to."""

    name = "test"

    def __init__(self) -> None:
        self.notes: list[Note] = []
        self.outcomes: dict[tuple[str, str], Outcome] = {}
        self.broken = False

    async def deliver(self, user_ids: Sequence[str], notes_for: NotesFor) -> None:
        if self.broken:
            raise Unavailable("on purpose")
        self.notes += await notes_for(user_ids)

    async def remember(self, known: Sequence[tuple[str, Sequence[tuple[str, Outcome]]]]) -> list[FairgateError | None]:
        if self.broken:
            raise Unavailable("on purpose")
        self.outcomes |= {(event_id, user_id): outcome for event_id, users in known for user_id, outcome in users}
        return [None] * len(known)


class Stage:
    """Topics of its own, and the stage on them."""

    def __init__(self, config: Config, database: Database) -> None:
        self.config, self.names = config, topics.Names(config.topic_prefix)
        self.store = InboxStore(database)
        self.inbox = Inbox(self.store)
        self._database = database
        self.told = Remembered()
        self.outcomes = Outcomes(self.told.remember)
        self._producer = Producer({**connection(config), "enable.idempotence": True})
        self.service = self._new_service()

    def _new_service(self) -> Notification:
        return Notification(
            consumer=lambda: GroupConsumer(
                self.config,
                group=f"{self.config.topic_prefix}notification-group",
                topics=[self.names.ticket_issued, self.names.notification],
                slot=0,
            ),
            names=self.names,
            inbox=self.store,
            outcomes=self.outcomes,
            channels=Channels([self.told]),
            dead_letters=DeadLetters(self.config, "notification-group"),
        )

    async def start(self) -> None:
        await self.outcomes.start()
        await self.service.start()

    async def stop(self) -> None:
        await self.service.stop()
        await self.outcomes.stop()

    async def restart(self) -> None:
        await self.service.stop()
        self.service = self._new_service()
        await self.service.start()

    async def send(self, topic: str, *values: object, key: str = "u") -> None:
        for value in values:
            raw = value if isinstance(value, bytes | None) else msgspec.json.encode(value)
            self._producer.produce(topic, raw, key)
        await asyncio.to_thread(self._producer.flush, 10)

    async def ticket(self, user_id: str, event_id: str, number: int = 1, status: str = "confirmed") -> dict[str, Any]:
        """A ticket in SQL; returns its fact."""
        ticket = await ticket_in_sql(self._database, user_id, event_id, number, status)
        return {**issued(user_id, event_id, ticket.ticket_id, number), "timestamp": ticket.timestamp}

    def buried(self, topic: str, count: int) -> list[tuple[bytes, str]]:
        """Value and reason of the first `count` dead letters."""
        consumer = Consumer({**connection(self.config), "group.id": uuid.uuid4().hex, "auto.offset.reset": "earliest"})
        consumer.subscribe([self.names.dead_letters(topic)])
        found: list[tuple[bytes, str]] = []
        deadline = time.monotonic() + 15
        while len(found) < count and time.monotonic() < deadline:
            message = consumer.poll(0.2)
            if message is not None and message.error() is None:
                reason = dict(message.headers() or [])["fg_reason"]
                found.append((message.value() or b"", reason.decode()))
        consumer.close()
        return found


def issued(user_id: str, event_id: str, ticket_id: str, number: int = 1) -> dict[str, Any]:
    base = {"userId": user_id, "eventId": event_id, "ticketId": ticket_id, "number": number, "sequence": number}
    return {**base, "status": "confirmed", "timestamp": 1}


def message(user_id: str, id: str, **changes: object) -> dict[str, object]:
    base = {"messageId": id, "userId": user_id, "kind": "news", "title": "Hello", "body": "You", "timestamp": 1}
    return {**base, **changes}


@pytest.fixture
async def stage(servers: Servers, topic_prefix: str) -> AsyncIterator[Stage]:
    config = servers.config.model_copy(update={"topic_prefix": topic_prefix})
    admin = AdminClient(connection(config))
    await asyncio.to_thread(topics.apply, admin, topic_prefix)
    database = Database(servers.postgres_dsn, size=4)
    stage = Stage(config, database)
    await stage.start()
    yield stage
    await stage.stop()
    await database.close()
    for future in admin.delete_topics([topic.name for topic in topics.catalogue(topic_prefix, 1)]).values():
        with contextlib.suppress(Exception):
            await asyncio.to_thread(future.result, 10)


async def test_a_ticket_is_told_once_remembered_and_kept(stage: Stage, user_id: str, event_id: str) -> None:
    fact = await stage.ticket(user_id, event_id, 7)
    async with stage.service.signals["committed"].expect(2, within_s=30):
        await stage.send(stage.names.ticket_issued, fact, fact)

    name = f"issued:{fact['ticketId']}"
    assert [note.id for note in stage.told.notes] == [name]
    assert stage.told.outcomes[event_id, user_id] == Outcome(Status.CONFIRMED, 7, fact["ticketId"])
    item = (await stage.inbox.list(user_id))[0]
    assert (item.id, item.kind, item.payload["number"]) == (name, "ticket:issued", 7)


@pytest.mark.parametrize("true_first", [True, False])
async def test_who_claims_another_s_ticket_beside_its_owner_is_told_nothing(
    stage: Stage, user_id: str, event_id: str, true_first: bool
) -> None:
    """In one batch, and all else as SQL has it."""
    fact = await stage.ticket(user_id, event_id, 7)
    facts = [fact, *({**fact, "userId": f"{thief}-{user_id}"} for thief in ("a", "z"))]
    async with stage.service.signals["committed"].expect(3, within_s=30):
        await stage.send(stage.names.ticket_issued, *(facts if true_first else reversed(facts)))

    assert [note.user_id for note in stage.told.notes] == [user_id]
    assert list(stage.told.outcomes) == [(event_id, user_id)]
    assert len(await asyncio.to_thread(stage.buried, stage.names.ticket_issued, 2)) == 2


async def test_a_message_of_any_service_reaches_its_user(stage: Stage, user_id: str) -> None:
    async with stage.service.signals["told"].expect(2, within_s=30):
        await stage.send(stage.names.notification, message(user_id, "m1"), message(user_id, "m2", data={"a": [1]}))

    assert [item.payload["title"] for item in await stage.inbox.list(user_id)] == ["Hello", "Hello"]


async def test_bad_messages_are_buried_with_their_reasons_and_hurt_nobody(
    stage: Stage, user_id: str, event_id: str
) -> None:
    forged = issued(user_id, event_id, str(uuid.uuid4()))
    stolen = {**await stage.ticket(user_id, event_id), "userId": f"x-{user_id}"}
    good = await stage.ticket(f"y-{user_id}", event_id, 2)
    bad: list[object] = [b"\xff not json", b"{}", None, forged, stolen]
    nul = message(user_id, "nul", title="a\0b")

    async with stage.service.signals["committed"].expect(len(bad) + 3, within_s=30):
        await stage.send(stage.names.ticket_issued, *bad, good)
        await stage.send(stage.names.notification, nul, message(user_id, "fine"))

    assert {note.user_id for note in stage.told.notes} == {f"y-{user_id}", user_id}
    assert [item.id for item in await stage.inbox.list(user_id)] == ["fine"]
    reasons = [reason for _, reason in await asyncio.to_thread(stage.buried, stage.names.ticket_issued, len(bad))]
    assert sorted(reason.split(":")[0] for reason in reasons) == ["cannot be read"] * 3 + ["refused"] * 2
    assert "refused by SQL" in (await asyncio.to_thread(stage.buried, stage.names.notification, 1))[0][1]


async def test_forged_facts_cost_the_others_no_more_than_one_wait(stage: Stage, user_id: str, event_id: str) -> None:
    forged = [issued(user_id, event_id, str(uuid.uuid4())) for _ in range(50)]
    began = time.monotonic()
    for lot in range(5):
        async with stage.service.signals["dead"].expect(10, within_s=30):
            await stage.send(stage.names.ticket_issued, *forged[lot * 10 : lot * 10 + 10], key=f"k{lot}")
        if lot == 0:
            began = time.monotonic()

    assert time.monotonic() - began < 2.0


async def test_a_ticket_that_sql_shows_a_moment_later_is_believed(stage: Stage, user_id: str, event_id: str) -> None:
    ticket_id = str(uuid.uuid4())
    async with stage.service.signals["told"].expect(1, within_s=30):
        await stage.send(stage.names.ticket_issued, issued(user_id, event_id, ticket_id))
        await asyncio.sleep(0.5)  # the moment itself: the replica that is behind
        async with stage._database.transaction() as connection:
            await connection.execute(
                "insert into tickets (ticket_id, event_id, user_id, sequence, number, status, settled_by)"
                " values ($1::text::uuid, $2, $3, 1, 1, 'confirmed', 'test')", ticket_id, event_id, user_id,
            )  # fmt: skip

    assert [note.user_id for note in stage.told.notes] == [user_id]


async def test_a_crash_before_the_commit_tells_nobody_twice(
    stage: Stage, user_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def crash(*_: object) -> None:
        raise Unavailable("on purpose")

    with monkeypatch.context() as patched:
        patched.setattr(GroupConsumer, "commit", crash)
        async with stage.service.signals["told"].expect(3, within_s=30):
            await stage.send(stage.names.notification, *(message(user_id, f"m{n}") for n in range(3)))
        await stage.service.stop()
    stage.service = stage._new_service()
    async with stage.service.signals["committed"].expect(3, within_s=60):
        await stage.service.start()

    assert sorted(note.id for note in stage.told.notes) == ["m0", "m1", "m2"]
    assert len(await stage.inbox.list(user_id)) == 3


async def test_a_broken_channel_and_cache_hold_up_nobody_and_the_cache_catches_up(
    stage: Stage, user_id: str, event_id: str
) -> None:
    stage.told.broken = True
    fact = await stage.ticket(user_id, event_id)
    async with stage.service.signals["committed"].expect(1, within_s=30):
        await stage.send(stage.names.ticket_issued, fact)

    assert len(await stage.inbox.unseen([user_id])) == 1
    async with stage.outcomes.signals["remembered"].expect(1, within_s=30):
        stage.told.broken = False
    assert stage.told.outcomes[event_id, user_id].status is Status.CONFIRMED


async def test_nothing_is_committed_while_sql_is_away(
    stage: Stage, user_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = asyncio.Event()

    async def away(*_: object) -> None:
        tried.set()
        raise Unavailable("on purpose")

    with monkeypatch.context() as patched:
        patched.setattr(InboxStore, "_insert", away)
        await stage.send(stage.names.notification, message(user_id, "m1"))
        await asyncio.wait_for(tried.wait(), 30)
        assert stage.service.signals["committed"].count == 0
    async with stage.service.signals["committed"].expect(1, within_s=30):
        pass

    assert [item.id for item in await stage.inbox.list(user_id)] == ["m1"]
    assert await stage.store.seen_among([Name(user_id, "m1")]) == set()
