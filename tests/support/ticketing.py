"""Events, admissions and the ticketing stage, for tests of tickets: what admission and the relay would have done."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition

from fairgate.config import Config
from fairgate.domain.messages import TicketIssue, TicketIssued
from fairgate.stores.database import Database
from fairgate.stores.leases import Slot
from fairgate.stores.tickets import Order
from fairgate.streams import topics
from fairgate.streams.settings import connection
from fairgate.ticketing.settle import Settle

FIRST = 1 << 40


async def ticket_in_sql(
    database: Database, user_id: str, event_id: str, number: int = 1, status: str = "confirmed"
) -> TicketIssued:
    """A ticket of which nobody was told, and its fact."""
    async with database.connection() as sql:
        row = await sql.fetchrow(
            """insert into tickets (event_id, user_id, sequence, number, status, settled_by)
               values ($1, $2, $3, $3, $4, 'test')
               returning ticket_id::text as ticket_id, epoch_millis(issued_at) as timestamp""",
            event_id,
            user_id,
            number,
            status,
        )
    assert row is not None
    return TicketIssued(user_id=user_id, event_id=event_id, number=number, sequence=number, status=status, **row)


class Books:
    """SQL as admission leaves it."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def event(self, event_id: str, capacity: int | None = None, hold_s: int | None = None) -> None:
        async with self.database.transaction() as sql:
            await sql.execute(
                "insert into lines (event_id, shard, state, rate, burst, hold_s) values ($1, 0, 'open', 100, 100, $2)",
                event_id,
                hold_s,
            )
            await sql.execute("insert into inventory (event_id, capacity) values ($1, $2)", event_id, capacity)
            await sql.execute("insert into tallies (event_id) values ($1)", event_id)

    async def admit(self, event_id: str, users: Iterable[str], first_sequence: int = FIRST) -> list[TicketIssue]:
        """Reserved, numbered, admitted; the orders that admission would put into the outbox."""
        names = list(users)
        async with self.database.transaction() as sql:
            first = await sql.fetchval(
                "update inventory set reserved = reserved + $2, next_number = next_number + $2 where event_id = $1 "
                "returning next_number - $2",
                event_id,
                len(names),
            )
            orders = [
                TicketIssue(user_id=user, event_id=event_id, sequence=first_sequence + i, number=first + i, timestamp=1)
                for i, user in enumerate(names)
            ]
            await sql.executemany(
                "insert into admissions (event_id, number, user_id, sequence, source) values ($1, $2, $3, $4, 'line')",
                [(event_id, order.number, order.user_id, order.sequence) for order in orders],
            )
        return orders

    async def tickets(self, event_id: str) -> list[dict[str, Any]]:
        async with self.database.connection() as sql:
            rows = await sql.fetch("select * from tickets where event_id = $1 order by number", event_id)
        return [{**row, "ticket_id": str(row["ticket_id"])} for row in rows]

    async def balance(self, event_id: str) -> dict[str, int]:
        """Reserved and the tallies, after proving them against the rows that they sum up."""
        async with self.database.connection() as sql:
            row = await sql.fetchrow(
                """select i.capacity, i.reserved, y.issued, y.confirmed, y.cancelled, y.expired,
                          (select count(*) from tickets t where t.event_id = i.event_id) as made,
                          (select count(*) from tickets t where t.event_id = i.event_id and status = 'confirmed') as c,
                          (select count(*) from tickets t where t.event_id = i.event_id and status = 'cancelled') as x,
                          (select count(*) from tickets t where t.event_id = i.event_id and status = 'expired') as e,
                          (select count(*) from tickets t where t.event_id = i.event_id and status = 'pending') as p,
                          (select count(*) from admissions a where a.event_id = i.event_id) as admitted
                   from inventory i join tallies y using (event_id) where i.event_id = $1""",
                event_id,
            )
        assert row is not None
        assert (row["made"], row["c"], row["x"], row["e"]) == (
            row["issued"],
            row["confirmed"],
            row["cancelled"],
            row["expired"],
        )
        assert row["reserved"] == row["p"] + row["c"] + (row["admitted"] - row["made"])
        assert row["capacity"] is None or row["p"] + row["c"] <= row["capacity"]
        return {name: row[name] for name in ("reserved", "issued", "confirmed", "cancelled", "expired")}


def orders_from(issues: Sequence[TicketIssue], topic_id: str = "topic", first_offset: int = 0) -> list[Order]:
    return [Order(issue, f"{topic_id}-0@{first_offset + i}") for i, issue in enumerate(issues)]


class Broker:
    """The topics of one test."""

    def __init__(self, config: Config, prefix: str) -> None:
        self.config = config.model_copy(update={"topic_prefix": prefix})
        self.names = topics.Names(prefix)
        self._producer: Any = None

    async def prepare(self) -> None:
        await asyncio.to_thread(lambda: topics.apply(topics.admin(self.config), self.config.topic_prefix))

    async def send(self, topic: str, records: Sequence[tuple[str, bytes | str]], headers: Any = None) -> None:
        """(key, value) each, acknowledged when this returns."""
        await asyncio.to_thread(self._send, topic, records, headers)

    def _send(self, topic: str, records: Sequence[tuple[str, bytes | str]], headers: Any) -> None:
        if self._producer is None:
            # Idempotent: else the first records overtake each other where a new partition's leader is not ready yet.
            order = {"acks": "all", "enable.idempotence": True, "partitioner": "murmur2_random"}
            self._producer = Producer({**connection(self.config), **order, "linger.ms": 2})
        for key, value in records:
            self._producer.produce(topic, value, key, headers=headers or [])
        assert self._producer.flush(20) == 0

    async def read(self, topic: str) -> list[Any]:
        """Every committed record, from the beginning to the present end, in the order of each partition."""
        return await asyncio.to_thread(self._read, topic)

    def _read(self, topic: str) -> list[Any]:
        reader = Consumer(
            {
                **connection(self.config),
                "group.id": f"reader-{uuid.uuid4().hex}",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "isolation.level": "read_committed",
            }
        )
        try:
            partitions = reader.list_topics(topic, timeout=10).topics[topic].partitions
            reader.assign([TopicPartition(topic, partition, 0) for partition in partitions])
            found, open_ends = [], set(partitions)
            while open_ends:
                message = reader.poll(10)
                assert message is not None, "no end within 10 s"
                if message.error() is None:
                    found.append(message)
                else:
                    open_ends.discard(message.partition())
            return found
        finally:
            reader.close()

    async def committed(self, group: str, topic: str) -> dict[int, int]:
        """Partition → committed offset; -1001 where there is none."""
        return await asyncio.to_thread(self._committed, group, topic)

    def _committed(self, group: str, topic: str) -> dict[int, int]:
        reader = Consumer({**connection(self.config), "group.id": self.config.topic_prefix + group})
        try:
            partitions = reader.list_topics(topic, timeout=10).topics[topic].partitions
            found = reader.committed([TopicPartition(topic, partition) for partition in partitions], timeout=10)
            return {partition.partition: partition.offset for partition in found}
        finally:
            reader.close()

    async def order(self, issues: Sequence[TicketIssue]) -> None:
        await self.send(self.names.ticket_issue, [(issue.event_id, encoded(issue)) for issue in issues])


def encoded(issue: TicketIssue) -> str:
    return json.dumps(
        {
            "userId": issue.user_id,
            "eventId": issue.event_id,
            "sequence": issue.sequence,
            "number": issue.number,
            "timestamp": issue.timestamp,
        }
    )


@asynccontextmanager
async def ticketing(
    broker: Broker, dsn: str, owner: str = "one", stage: type[Settle] = Settle, **settings: Any
) -> AsyncIterator[Settle]:
    """One ticketing process, with a slot of its own kind for each test."""
    database = Database(dsn)
    slot = Slot(database, f"ticketing-{broker.config.topic_prefix}", owner)
    settle = stage(broker.config, database, slot, leaves=True, **settings)
    await slot.start()
    await settle.start()
    try:
        yield settle
    finally:
        await settle.stop()
        await slot.stop()
        await database.close()
