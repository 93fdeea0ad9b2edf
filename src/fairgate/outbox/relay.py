"""The relay: publishes the outbox to Kafka, in order per key.

One process holds a shard (`stores/leases.py`), reads its oldest unsent rows in id order, sends them, waits until Kafka
has every record (`acks=all`), then marks the rows. On a failure, a lost lease or a stall that does not end the producer
is thrown away and the next round starts from the first row that is not marked: repeats, under the same message ids,
which every reader absorbs.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import asyncpg

from fairgate import telemetry
from fairgate.domain.messages import cloud_event_headers
from fairgate.errors import Unavailable
from fairgate.failpoints import failpoint
from fairgate.lifecycle import Service
from fairgate.stores.database import Database, translated
from fairgate.stores.leases import LEASE_S, Shards
from fairgate.stores.outbox import CHANNEL, OutboxRow, OutboxStore
from fairgate.streams.producer import Headers
from fairgate.streams.topics import Names

# A row is one message where a thousand lines admit one by one, and a thousand where one line drains.
ROWS_MAX = 1_000

# Each round costs the brokers a request to every leader and two copies of it, however many messages it has: the more
# the last one had, the longer the next one gathers. A quiet day waits for nothing; 2,000 a second and more go in four
# rounds a second.
GATHER_S, GATHER_S_PER_MESSAGE = 0.25, 0.0005

# Kafka moves a partition's leader within this when a broker dies. Longer is a stall, and said to be one.
STALL_S = 10.0
# A producer goes on by itself where a leader is late. A new one has to be given its id first, which may take longer:
# while a controller is frozen, brokers have none to give. So the old one is given up last.
GIVE_UP_S = 30.0
# How often to look whether the lease is still ours.
LOOK_S = 1.0


class Sender(Protocol):
    """What the relay needs of a producer (`streams.producer.OrderedProducer`)."""

    def get_ready(self, topics: Iterable[str]) -> None: ...
    def send(self, topic: str, records: Iterator[tuple[str, str | bytes, Headers]]) -> None: ...
    def all_acknowledged(self, within_s: float) -> bool: ...
    def throw_away(self) -> None: ...


class MakeSender(Protocol):
    def __call__(self) -> Sender: ...


class Relay(Service):
    """Signals: `sent` (messages). `idle_s` is the slow poll under the NOTIFY."""

    name = "relay"
    idle_s = 0.5

    def __init__(
        self, database: Database, store: OutboxStore, shards: Shards, make_sender: MakeSender, topic_prefix: str
    ) -> None:
        super().__init__()
        self._database, self._store, self._shards = database, store, shards
        self._make_sender, self._topic_prefix = make_sender, topic_prefix
        self._sender: Sender | None = None
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="relay-producer")
        self.sent = 0
        self._gathers_until = 0.0

    async def run_once(self) -> bool:
        epochs = self._shards.epochs
        if not epochs:
            return False
        if self._sender is None:
            await self._in_thread(self._get_ready)
        connection = await self._listening()
        await asyncio.sleep(max(0.0, self._gathers_until - time.monotonic()))
        with translated():
            rows = await self._store.oldest_unsent(connection, list(epochs), ROWS_MAX)
        if not rows:
            return False
        failpoint("relay.read")
        await self._publish(rows)
        failpoint("relay.acknowledged")
        with translated():
            await self._store.mark_sent(connection, [row.id for row in rows])
        failpoint("relay.marked")
        self._note(rows)
        return True

    async def teardown(self) -> None:
        if self._sender is not None:
            await self._in_thread(self._sender.all_acknowledged, 2.0)
        self._thread.shutdown(wait=False)
        if self._connection is not None:
            await asyncio.wait_for(self._connection.close(), 5.0)

    async def _publish(self, rows: Sequence[OutboxRow]) -> None:
        """Every record acknowledged while the leases held. Raises `Unavailable`; then nothing may be marked."""
        try:
            await self._in_thread(self._send, rows)
            await self._acknowledged(rows)
        except Exception:
            await self._start_afresh()
            raise

    def _get_ready(self) -> None:
        """Before the first row comes: it would wait for all of this."""
        self._sender = self._make_sender()
        self._sender.get_ready(Names(self._topic_prefix).work)

    def _send(self, rows: Sequence[OutboxRow]) -> None:
        assert self._sender is not None
        for row in rows:
            self._sender.send(self._topic_prefix + row.topic, _records(row))
            failpoint("relay.sent_one")
        failpoint("relay.sent")

    async def _acknowledged(self, rows: Sequence[OutboxRow]) -> None:
        assert self._sender is not None
        began = time.monotonic()
        while not await self._in_thread(self._sender.all_acknowledged, LOOK_S):
            self._require_leases(rows)
            waited_s = time.monotonic() - began
            if waited_s > GIVE_UP_S or self.stopping:
                raise Unavailable(f"Kafka has not acknowledged within {waited_s:.0f} s")
            if waited_s > STALL_S:
                self._note_failure(Unavailable(f"Kafka has not acknowledged within {STALL_S:.0f} s"))
        self._require_leases(rows)

    def _require_leases(self, rows: Sequence[OutboxRow]) -> None:
        held = self._shards.epochs
        if any(row.shard not in held for row in rows):
            raise Unavailable("the lease was lost while sending")

    async def _start_afresh(self) -> None:
        sender, self._sender = self._sender, None
        if sender is not None:
            await self._in_thread(sender.throw_away)

    async def _listening(self) -> asyncpg.Connection[asyncpg.Record]:
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._database.dedicated(transaction_timeout_s=LEASE_S - 1)
            await self._connection.add_listener(CHANNEL, lambda *_: self.wake.set())
        return self._connection

    async def _in_thread(self, call: object, *args: object) -> object:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call, *args)  # type: ignore[arg-type]

    def _note(self, rows: Sequence[OutboxRow]) -> None:
        count = sum(len(row.payloads) for row in rows)
        self.sent += count
        self._gathers_until = time.monotonic() + min(GATHER_S, GATHER_S_PER_MESSAGE * count)
        for row in rows:
            telemetry.PUBLISHED.labels(row.topic).inc(len(row.payloads))
        self.signals["sent"].fire(count)


def _records(row: OutboxRow) -> Iterator[tuple[str, str | bytes, Headers]]:
    for key, message_id, payload in zip(row.keys, row.ids, row.payloads, strict=True):
        yield key, payload, cloud_event_headers(message_id, row.topic)
