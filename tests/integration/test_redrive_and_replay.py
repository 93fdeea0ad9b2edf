"""Dead letters that are sent again, once, and a whole on-sale that is read again without any effect."""

from __future__ import annotations

import asyncio
import json
from collections import Counter

import pytest

from fairgate.config import Config
from fairgate.errors import NotFound, Unavailable, Unsafe
from fairgate.ops import replay
from fairgate.ops.dead_letters import Heap, heaps, letters
from fairgate.ops.redrive import Outcome, Repair, Wanted, redrive
from fairgate.stores.database import Database
from fairgate.stores.inbox import InboxItem, InboxStore
from fairgate.stores.redriven import Origin, RedrivenStore
from fairgate.ticketing.settle import GROUP
from tests.conftest import Servers
from tests.integration.test_notification_stage import Stage
from tests.integration.test_ticketing_stage import until
from tests.support.ticketing import FIRST, Books, Broker, encoded, ticketing


@pytest.fixture
def books(database: Database) -> Books:
    return Books(database)


@pytest.fixture
async def broker(servers: Servers, topic_prefix: str) -> Broker:
    broker = Broker(servers.config, topic_prefix)
    await broker.prepare()
    return broker


async def sent(broker: Broker, database: Database, repair: Repair | None = None, **wanted: object) -> Outcome:
    of = Wanted([broker.names.ticket_issue], **wanted)  # type: ignore[arg-type]
    return await redrive(broker.config, RedrivenStore(database), of, repair or Repair(), really=True)


async def listed(broker: Broker, database: Database) -> list[Heap]:
    done = await RedrivenStore(database).of_topic(broker.names.ticket_issue)
    return await asyncio.to_thread(lambda: heaps(letters(broker.config, broker.names.ticket_issue), done))


async def test_a_repaired_letter_becomes_a_ticket_and_is_sent_once(
    servers: Servers, database: Database, books: Books, broker: Broker, event_id: str
) -> None:
    await books.event(event_id)
    issues = await books.admit(event_id, ["a", "b", "c"])
    wrong = [json.dumps({**json.loads(encoded(issue)), "eventId": "elsewhere"}) for issue in issues]
    async with ticketing(broker, servers.postgres_dsn) as stage:
        await broker.send(broker.names.ticket_issue, [(event_id, value) for value in wrong], [("ce_id", b"old-id")])
        await until(stage.signals["dead"], 3)
        repair = Repair(changes=[(("eventId",), event_id)])
        assert [len((await sent(broker, database, repair, limit=2)).ready)] == [2]
        again = await sent(broker, database, repair)
        assert (len(again.ready), len(again.already)) == (1, 2)
        assert (len((await sent(broker, database, repair)).ready)) == 0
        await until(stage.signals["issued"], 3)
    assert [row["user_id"] for row in await books.tickets(event_id)] == ["a", "b", "c"]
    redriven = [m for m in await broker.read(broker.names.ticket_issue) if "fg_redriven_from" in dict(m.headers())]
    assert len(redriven) == 3
    assert {(message.key().decode(), dict(message.headers())["ce_id"]) for message in redriven} == {
        (event_id, b"old-id")
    }
    [heap] = await listed(broker, database)
    assert (heap.reason, heap.letters, heap.redriven, heap.repeats) == ("unknown-admission", 3, 3, 0)


async def test_two_redrives_at_once_send_each_letter_once(
    servers: Servers, database: Database, broker: Broker, event_id: str
) -> None:
    async with ticketing(broker, servers.postgres_dsn) as stage:
        await broker.send(broker.names.ticket_issue, [(event_id, b"{broken")] * 40)
        await until(stage.signals["dead"], 40)
    outcomes = await asyncio.gather(*(sent(broker, database) for _ in range(4)))
    assert sum(len(outcome.ready) for outcome in outcomes) == 40
    assert len(await broker.read(broker.names.ticket_issue)) == 80


async def test_what_kafka_did_not_take_is_not_marked(
    servers: Servers, database: Database, broker: Broker, event_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ticketing(broker, servers.postgres_dsn) as stage:
        await broker.send(broker.names.ticket_issue, [(event_id, b"{broken")])
        await until(stage.signals["dead"], 1)

    async def cut(*arguments: object) -> None:
        raise Unavailable("cut")

    with monkeypatch.context() as patch:
        patch.setattr("fairgate.streams.sender.Sender.send", cut)
        with pytest.raises(Unavailable):
            await sent(broker, database)
    assert len((await sent(broker, database)).ready) == 1


async def test_a_letter_that_was_cut_is_not_sent_as_it_is(
    servers: Servers, database: Database, broker: Broker, event_id: str
) -> None:
    async with ticketing(broker, servers.postgres_dsn) as stage:
        await broker.send(broker.names.ticket_issue, [(event_id, b"x" * 900_000)])
        await until(stage.signals["dead"], 1)
    outcome = await sent(broker, database)
    assert (len(outcome.ready), len(outcome.not_whole)) == (0, 1)
    assert len((await sent(broker, database, Repair(value=b"{}"))).ready) == 1


async def test_a_letter_that_is_not_there_is_said_so(broker: Broker, database: Database) -> None:
    with pytest.raises(NotFound):
        await sent(broker, database, place=(0, 5))
    with pytest.raises(NotFound):
        await sent(broker, database, place=(77, 0))


async def test_a_mark_is_for_this_very_record_and_not_for_one_of_a_topic_made_anew(database: Database) -> None:
    store, old = RedrivenStore(database), Origin("made-anew", 0, 5, 1_000)
    async with store.marking([old]) as new:
        assert new == {old}
    async with store.marking([old, old._replace(written_ms=2_000)]) as new:
        assert new == {old._replace(written_ms=2_000)}


async def test_reading_a_whole_on_sale_again_repeats_no_effect(
    servers: Servers, database: Database, books: Books, broker: Broker, event_id: str
) -> None:
    """The same tickets and inbox rows, nobody told twice; the log gains repeats with the same id and content."""
    await books.event(event_id, hold_s=600)
    issues = await books.admit(event_id, users := [f"{event_id}-{i}" for i in range(60)])
    forged = [encoded(issue).replace(issue.user_id, "thief") for issue in issues[:5]]
    notification = Stage(broker.config, database)
    await notification.start()
    try:
        async with ticketing(broker, servers.postgres_dsn) as stage:
            await broker.order(issues)
            await broker.send(broker.names.ticket_issue, [(event_id, value) for value in forged])
            await until(stage.signals["issued"], 60)
            await until(stage.signals["dead"], 5)
            await until(notification.service.signals["committed"], 60)
            with pytest.raises(Unsafe):
                await moved(broker.config, GROUP)
        tickets, inbox, told = await books.tickets(event_id), await rows(database, users), len(notification.told.notes)
        first = await facts(broker)
        assert (len(tickets), len(inbox), told, set(first.values())) == (60, 60, 60, {1})
        moves = await moved(broker.config, GROUP)
        assert sum(move.repeated for move in moves) >= 65 and sum(move.skipped for move in moves) == 0
        async with ticketing(broker, servers.postgres_dsn) as stage:
            await until(stage.signals["announced_again"], 60)
            await until(stage.signals["dead"], 5)
            await until(notification.service.signals["committed"], 120)
            assert stage.counts["issued"] == 0
    finally:
        await notification.stop()
    assert await books.tickets(event_id) == tickets
    assert await rows(database, users) == inbox
    assert len(notification.told.notes) == told
    assert await facts(broker) == dict.fromkeys(first, 2)
    [heap] = await listed(broker, database)
    assert (heap.letters, heap.repeats) == (5, 5)


async def test_what_nobody_has_read_is_not_skipped_unless_that_is_asked_for(
    servers: Servers, broker: Broker, event_id: str
) -> None:
    issue = encoded_one(event_id)
    await broker.send(broker.names.ticket_issue, [(event_id, issue)] * 3)
    moves = await asyncio.to_thread(replay.plan, broker.config, GROUP, None, replay.To(latest=True))
    assert sum(move.skipped for move in moves) == 3
    with pytest.raises(Unsafe):
        await asyncio.to_thread(replay.apply, broker.config, GROUP, moves)
    await asyncio.to_thread(lambda: replay.apply(broker.config, GROUP, moves, skip=True))
    again = await asyncio.to_thread(replay.plan, broker.config, GROUP, None, replay.To(offset=1))
    assert (sum(move.repeated for move in again), sum(move.skipped for move in again)) == (2, 0)


def encoded_one(event_id: str) -> str:
    return json.dumps({"userId": "u", "eventId": event_id, "sequence": FIRST, "number": 1, "timestamp": 1})


async def moved(config: Config, group: str) -> list[replay.Move]:
    """Everything is to be read again."""

    def act() -> list[replay.Move]:
        moves = replay.plan(config, group, None, replay.To(earliest=True))
        replay.apply(config, group, moves)
        return moves

    return await asyncio.to_thread(act)


async def facts(broker: Broker) -> Counter[tuple[bytes, bytes]]:
    """Id and content of each record of `ticket-issued`."""
    found = await broker.read(broker.names.ticket_issued)
    return Counter((dict(message.headers())["ce_id"], message.value()) for message in found)


async def rows(database: Database, users: list[str]) -> list[tuple[str, InboxItem]]:
    return [(owned.user_id, owned.item) for owned in await InboxStore(database).unseen(users, 10)]
