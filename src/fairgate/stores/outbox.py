"""The outbox in SQL: events to publish, written in the same transaction as the fact that they tell."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import asyncpg
import msgspec

from fairgate.domain.messages import TicketIssue
from fairgate.errors import FairgateError, Unavailable
from fairgate.stores.database import Connection, Database

CHANNEL = "fairgate_outbox"

# Enough to keep Kafka busy, little enough to repeat after a crash.
MESSAGES_MAX = 16_000

# A notice takes a lock that all commits share, so at most one in this time and process.
NOTICE_EVERY_S = 0.01


class OutboxRow(msgspec.Struct, frozen=True, kw_only=True):
    """A batch of messages of one topic, in order, each with its key and id. `topic` is the logical name; `payloads` are
    JSON documents.
    """

    id: int
    shard: int
    topic: str
    keys: list[str]
    ids: list[str]
    payloads: Sequence[str | bytes]


_encoder = msgspec.json.Encoder()


def row_of(row: asyncpg.Record) -> OutboxRow:
    keys, payloads = _orders(row) if row["payload"] is None else (row["keys"], row["payload"].split("\n"))
    return OutboxRow(
        id=row["id"],
        shard=row["shard"],
        topic=row["topic"],
        keys=keys,
        ids=row["ids"] or [f"{row['id']}.{i}" for i in range(len(payloads))],
        payloads=payloads,
    )


def _orders(row: asyncpg.Record) -> tuple[list[str], list[bytes]]:
    """Keys and messages of the admissions that the row names, in runs of consecutive numbers of an event. Those never
    change: a row that is sent again says the same.
    """
    users, sequences, timestamp = row["users"] or [], row["sequences"] or [], row["admitted_ms"]
    if len(users) != row["messages"]:
        raise Unavailable(f"row {row['id']} of the outbox names admissions that are not there")
    keys: list[str] = []
    numbers: list[int] = []
    for event_id, first, count in zip(row["keys"], row["first_numbers"], row["counts"], strict=True):
        keys += [event_id] * count
        numbers += range(first, first + count)
    orders = [
        _encoder.encode(
            TicketIssue(user_id=user, event_id=event_id, sequence=sequence, number=number, timestamp=timestamp)
        )
        for event_id, user, sequence, number in zip(keys, users, sequences, numbers, strict=True)
    ]
    return keys, orders


class OutboxStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def oldest_unsent(self, connection: Connection, shards: Sequence[int], limit: int) -> list[OutboxRow]:
        """In id order; never "newer than the last": rows of several lines become visible out of order. At most `limit`
        rows, and fewer where they hold `MESSAGES_MAX` messages.
        """
        rows = await self._database.queries.oldest_unsent(
            connection, shards=list(shards), limit=limit, messages=MESSAGES_MAX
        )
        return [row_of(row) for row in rows]

    async def mark_sent(self, connection: Connection, row_ids: Sequence[int]) -> None:
        await self._database.queries.mark_sent(connection, row_ids=list(row_ids))

    async def prune(self, older_than_s: float, limit: int) -> int:
        """Forget rows that were sent that long ago. → how many."""
        async with self._database.connection() as connection:
            count = await self._database.queries.prune_sent(connection, seconds=older_than_s, limit=limit)
        return int(count)


class OutboxBell:
    """Wakes the relay after a commit; many rings in a short time become one notice. A lost one only costs a poll."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._last, self._rung = 0.0, False
        self._pending: asyncio.Task[None] | None = None

    def ring(self) -> None:
        self._rung = True
        if self._pending is None or self._pending.done():
            self._pending = asyncio.get_running_loop().create_task(self._notify())

    async def _notify(self) -> None:
        """Once more where it was rung while the last notice was on its way: that one may have come before the row."""
        try:
            while self._rung:
                await asyncio.sleep(max(0.0, self._last + NOTICE_EVERY_S - time.monotonic()))
                self._last, self._rung = time.monotonic(), False
                async with self._database.connection() as connection:
                    await self._database.queries.tell_outbox(connection)
        except FairgateError:
            return  # the relay's slow poll is the net
