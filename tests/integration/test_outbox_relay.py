"""The relay and its sweepers, on real Kafka and PostgreSQL."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fairgate.config import SHARDS, Config
from fairgate.domain.ids import shard_of
from fairgate.errors import Unavailable
from fairgate.outbox.relay import Relay
from fairgate.outbox.sweep import MARGIN, Found, LostAdmissions, Sweep, UntoldTickets
from fairgate.queue.lines import Lines
from fairgate.stores.database import Database
from fairgate.stores.leases import Shards
from fairgate.stores.outbox import OutboxBell, OutboxStore
from fairgate.streams.log import Log
from fairgate.streams.producer import OrderedProducer
from fairgate.streams.topics import Names, admin, apply
from fairgate.ticketing.orders import epoch_ms
from tests.conftest import Servers
from tests.support.house import own_database
from tests.support.kafka import Read, read_all


@pytest.fixture
async def config(servers: Servers, topic_prefix: str) -> Config:
    config = servers.config.model_copy(update={"topic_prefix": topic_prefix})
    await asyncio.to_thread(apply, admin(config), topic_prefix)
    return config


@pytest.fixture
async def database(servers: Servers) -> AsyncIterator[Database]:
    """One that no other test has left anything in: relay and sweepers take whatever is there."""
    async with own_database(servers.postgres_dsn) as dsn:
        database = Database(dsn)
        yield database
        await database.close()


class Relaying:
    """One relay process."""

    def __init__(self, database: Database, config: Config, make_sender: Any = None) -> None:
        self.shards = Shards(database, "outbox", "relay-test", f"relay-{uuid.uuid4().hex[:6]}", SHARDS)
        make = make_sender or (lambda: OrderedProducer(config, "relay-test"))
        self.relay = Relay(database, OutboxStore(database), self.shards, make, config.topic_prefix)
        self.shards.on_taken(self.relay.wake.set)

    async def __aenter__(self) -> Relay:
        await self.shards.start()
        await self.relay.start()
        return self.relay

    async def __aexit__(self, *_: object) -> None:
        await self.relay.stop()
        await self.shards.stop()


def minutes_ago(minutes: float) -> datetime:
    return datetime.now(UTC) - timedelta(minutes=minutes)


async def put(database: Database, key: str, count: int, first: int = 0) -> None:
    """One outbox row with `count` numbered messages of this key."""
    payload = "\n".join(json.dumps({"n": first + i}) for i in range(count))
    async with database.connection() as connection:
        await connection.execute(
            "insert into outbox (shard, topic, keys, payload, messages) values ($1, 'ticket-issue', $2, $3, $4)",
            shard_of(key, SHARDS),
            [key] * count,
            payload,
            count,
        )
    OutboxBell(database).ring()


async def of_topic(config: Config, key: str) -> list[Read]:
    records = await asyncio.to_thread(read_all, config, Names(config.topic_prefix).ticket_issue)
    return [record for record in records if record.key == key]


async def test_rows_of_a_key_arrive_in_order_in_one_partition(
    database: Database, config: Config, event_id: str
) -> None:
    async with Relaying(database, config) as relay, relay.signals["sent"].expect(300):
        for batch in range(3):
            await put(database, event_id, 100, first=batch * 100)
    records = await of_topic(config, event_id)
    assert [record.value["n"] for record in records] == list(range(300))
    assert len({record.partition for record in records}) == 1
    assert len({record.message_id for record in records}) == 300


async def test_a_relay_is_connected_before_the_first_row_comes(database: Database, config: Config) -> None:
    ready = asyncio.Event()
    loop = asyncio.get_running_loop()

    class Eager(OrderedProducer):
        def get_ready(self, topics: Iterable[str]) -> None:
            super().get_ready(topics)
            loop.call_soon_threadsafe(ready.set)

    async with Relaying(database, config, lambda: Eager(config, "eager")), asyncio.timeout(20):
        await ready.wait()


async def test_what_was_not_acknowledged_is_sent_again_under_the_same_ids(
    database: Database, config: Config, event_id: str
) -> None:
    """The records arrive, the answer does not: as when a broker dies at the wrong moment."""
    made: list[Forgetful] = []

    def forgetful_at_first() -> Any:
        made.append(Forgetful(config, answers=bool(made)))
        return made[-1]

    async with Relaying(database, config, forgetful_at_first) as relay, relay.signals["sent"].expect(50):
        await put(database, event_id, 50)
    records = await of_topic(config, event_id)
    assert [record.value["n"] for record in records] == [*range(50), *range(50)]
    assert [record.message_id for record in records[:50]] == [record.message_id for record in records[50:]]


@pytest.mark.parametrize(("sizes", "taken"), [([9_000, 9_000, 9_000], 2), ([20_000, 1], 1), ([1] * 5, 4)])
async def test_rows_come_in_order_up_to_a_number_of_rows_and_of_messages(
    database: Database, event_id: str, sizes: list[int], taken: int
) -> None:
    for size in sizes:
        await put(database, event_id, size)
    async with database.connection() as connection:
        rows = await OutboxStore(database).oldest_unsent(connection, list(range(SHARDS)), 4)
        await connection.execute("delete from outbox")
    assert [len(row.payloads) for row in rows] == sizes[:taken]


async def test_the_next_relay_goes_on_where_the_last_one_stopped(
    database: Database, config: Config, event_id: str
) -> None:
    async with Relaying(database, config) as first, first.signals["sent"].expect(10):
        await put(database, event_id, 10)
    await put(database, event_id, 10, first=10)
    async with Relaying(database, config) as second, second.signals["sent"].expect(10):
        pass
    assert [record.value["n"] for record in await of_topic(config, event_id)] == list(range(20))


async def test_an_admission_that_kafka_lost_is_sent_again(database: Database, event_id: str) -> None:
    await Lines(database).create(event_id)
    async with database.transaction() as connection:
        await connection.execute(
            "insert into admissions (event_id, number, user_id, sequence, source, admitted_at) "
            "values ($1, 1, 'lost', 7, 'line', now() - interval '5 minutes')",
            event_id,
        )
        await connection.execute("update inventory set reserved = 1, next_number = 2 where event_id = $1", event_id)
    assert (await LostAdmissions(database).send_again(minutes_ago(4), minutes_ago(1))).count == 0
    found = await LostAdmissions(database).send_again(minutes_ago(6), minutes_ago(1))
    assert found.count == 1
    assert found.oldest is not None
    assert minutes_ago(6) < found.oldest < minutes_ago(4)
    async with database.connection() as connection:
        named = await connection.fetchrow("select first_numbers, counts from outbox where keys = array[$1]", event_id)
        await connection.execute("update outbox set sent_at = now() where keys = array[$1]", event_id)
        await connection.execute("update tallies set issued = 1 where event_id = $1", event_id)
    assert tuple(named) == ([1], [1])


async def test_orders_say_what_their_admissions_say(database: Database, config: Config, event_id: str) -> None:
    """Also of those that were lost out of the middle, and were admitted at several moments."""
    await Lines(database).create(event_id)
    one, other = minutes_ago(6), minutes_ago(5)
    moments = [one, one, other, one, one]
    async with database.transaction() as connection:
        for number, moment in enumerate(moments, 1):
            await connection.execute(
                "insert into admissions (event_id, number, user_id, sequence, source, admitted_at) "
                "values ($1, $2, $3, $4, 'line', $5)",
                event_id, number, f"u{number}", 70 + number, moment,
            )  # fmt: skip
        await connection.execute("update inventory set reserved = 5, next_number = 6 where event_id = $1", event_id)
        await connection.execute(
            "insert into tickets (event_id, user_id, sequence, number, status, settled_by) "
            "values ($1, 'u4', 74, 4, 'confirmed', 'test')",
            event_id,
        )
        await connection.execute("update tallies set issued = 1, confirmed = 1 where event_id = $1", event_id)
    assert (await LostAdmissions(database).send_again(None, minutes_ago(1))).count == 4
    async with database.connection() as connection:
        rows = await connection.fetch(
            "select first_numbers, counts, messages from outbox where $1 = any(keys) order by id", event_id
        )
    assert [tuple(row) for row in rows] == [([1, 5], [2, 1], 3), ([3], [1], 1)]
    async with Relaying(database, config) as relay, relay.signals["sent"].expect(4):
        OutboxBell(database).ring()
    orders = [record.value for record in await of_topic(config, event_id)]
    assert sorted(orders, key=lambda order: order["number"]) == [
        {
            "userId": f"u{number}",
            "eventId": event_id,
            "sequence": 70 + number,
            "number": number,
            "timestamp": epoch_ms(moments[number - 1]),
        }
        for number in (1, 2, 3, 5)
    ]
    async with database.connection() as connection:
        await connection.execute("update tallies set issued = 5 where event_id = $1", event_id)


async def test_a_row_that_names_admissions_which_are_not_there_is_said_to_and_not_skipped(
    servers: Servers, event_id: str
) -> None:
    async with own_database(servers.postgres_dsn) as dsn:
        database = Database(dsn)
        try:
            async with database.connection() as connection:
                await connection.execute(
                    "insert into outbox (shard, topic, keys, first_numbers, counts, messages) "
                    "values (0, 'ticket-issue', array[$1], array[1], array[3], 3)",
                    event_id,
                )
                with pytest.raises(Unavailable, match="not there"):
                    await OutboxStore(database).oldest_unsent(connection, [0], 10)
        finally:
            await database.close()


async def test_an_admission_on_its_way_is_not_sent_again(database: Database, event_id: str) -> None:
    await Lines(database).create(event_id)
    async with database.transaction() as connection:
        await connection.execute(
            "insert into admissions (event_id, number, user_id, sequence, source) values ($1, 1, 'u', 7, 'line')",
            event_id,
        )
        await connection.execute("update inventory set reserved = 1, next_number = 2 where event_id = $1", event_id)
        assert (await LostAdmissions(database).send_again(None, minutes_ago(1))).count == 0
        await connection.execute("delete from admissions where event_id = $1", event_id)


async def test_a_ticket_that_nobody_was_told_of_is_announced_again(database: Database, event_id: str) -> None:
    await Lines(database).create(event_id)
    async with database.connection() as connection:
        ticket_id = await connection.fetchval(
            "insert into tickets (event_id, user_id, sequence, number, status, settled_by, issued_at) "
            "values ($1, 'untold', 1, 1, 'confirmed', 'test', now() - interval '23 hours') returning ticket_id",
            event_id,
        )
    day_ago = datetime.now(UTC) - timedelta(hours=23)
    assert (await UntoldTickets(database).send_again(day_ago + timedelta(minutes=1), minutes_ago(1))).count == 0
    found = await UntoldTickets(database).send_again(None, minutes_ago(1))
    assert found.count >= 1
    assert found.oldest is not None
    assert found.oldest < day_ago
    async with database.connection() as connection:
        again = await connection.fetchval(
            "select count(*) from outbox where ids = array[$1::text]", f"issued:{ticket_id}"
        )
    assert again == 1


async def test_a_sweep_looks_again_from_what_is_still_missing_and_else_only_at_what_came_since(
    database: Database, config: Config
) -> None:
    class Recorded(LostAdmissions):
        """Finds something missing in the first look only."""

        def __init__(self) -> None:
            super().__init__(database)
            self.looks: list[tuple[datetime | None, datetime]] = []

        async def send_again(self, since: datetime | None, before: datetime) -> Found:
            self.looks.append((since, before))
            return Found(0, before - timedelta(hours=1) if len(self.looks) == 1 else None)

    lost, names = Recorded(), Names(config.topic_prefix)
    shards = Shards(database, "outbox", "sweeping", "sweeper", SHARDS)
    await shards.run_once()
    for _ in range(2):  # processes
        sweep = Sweep(lost, Log(config, f"{config.topic_prefix}nobody"), names.ticket_issue, shards)
        for _ in range(3):
            await sweep.run_once()
        await sweep.teardown()
    (nothing_known, first), (from_missing, second), (from_complete, third), (from_complete_too, _) = lost.looks
    assert nothing_known is None
    assert from_missing == first - timedelta(hours=1)
    assert from_complete == second and from_complete_too == third


async def test_what_a_transaction_under_way_may_have_stamped_is_looked_at_again(servers: Servers) -> None:
    async with own_database(servers.postgres_dsn) as dsn:
        database, other = Database(dsn), Database(dsn)
        lost = LostAdmissions(database)
        try:
            assert await lost.visible_until(await lost.time()) <= await lost.time()
            async with other.transaction() as connection:
                began = await connection.fetchval("select now()")
                earlier, later = began - timedelta(seconds=1), await lost.time()
                assert await lost.visible_until(later) == later, "who has not written has stamped nothing"
                await connection.execute("select pg_current_xact_id()")
                assert await lost.visible_until(earlier) == earlier
                assert await lost.visible_until(later) == began
            assert await lost.visible_until(later) == later
        finally:
            await database.close()
            await other.close()


async def test_where_others_may_not_be_seen_a_margin_is_looked_at_again(servers: Servers) -> None:
    async with own_database(servers.postgres_dsn) as dsn:
        database, other = Database(dsn), Database(dsn)
        try:
            async with database.connection() as connection, other.transaction():
                await connection.execute("create role stranger")
                before = await connection.fetchval("select clock_timestamp()")
                await connection.execute("set role stranger")
                until = await database.queries.visible_until(connection, before=before, margin=MARGIN)
                await connection.execute("reset role; drop role stranger")
            assert until == before - MARGIN
        finally:
            await database.close()
            await other.close()


async def test_where_the_databases_clock_was_set_back_a_sweep_looks_at_everything(
    database: Database, config: Config
) -> None:
    looks: list[datetime | None] = []

    class Recorded(LostAdmissions):
        async def send_again(self, since: datetime | None, before: datetime) -> Found:
            looks.append(since)
            return Found(0, None)

    lost = Recorded(database)
    await lost.note_complete(datetime.now(UTC) + timedelta(hours=1))
    shards = Shards(database, "outbox", "sweeping", "sweeper", SHARDS)
    await shards.run_once()
    sweep = Sweep(lost, Log(config, f"{config.topic_prefix}nobody"), Names(config.topic_prefix).ticket_issue, shards)
    for _ in range(3):
        await sweep.run_once()
    await sweep.teardown()
    nothing_known, until_now = looks
    assert nothing_known is None
    assert until_now is not None
    assert until_now < datetime.now(UTC)


class Forgetful(OrderedProducer):
    """A real producer whose acknowledgements may get lost on the way back."""

    def __init__(self, config: Config, *, answers: bool) -> None:
        super().__init__(config, "forgetful")
        self._answers = answers

    def all_acknowledged(self, within_s: float) -> bool:
        arrived = super().all_acknowledged(within_s)
        if arrived and not self._answers:
            raise Unavailable("the answer was lost")
        return arrived
