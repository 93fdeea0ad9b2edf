"""The journal's way to Kafka, put together as `wiring` does, and a reading of what it left there."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec

from fairgate.config import SHARDS, Config
from fairgate.domain.journal import Ledger
from fairgate.domain.messages import QueueJournal
from fairgate.outbox.journal import Journal
from fairgate.stores.channel import Channel
from fairgate.stores.database import Database
from fairgate.stores.journal import JournalStore
from fairgate.stores.keys import JOURNAL_CHANNEL
from fairgate.stores.leases import Shards
from fairgate.stores.line import LineStore
from fairgate.stores.lines import LineBook
from fairgate.stores.notices import Listener
from fairgate.stores.valkey import client
from fairgate.streams.producer import OrderedProducer
from fairgate.streams.publisher import Publisher
from fairgate.streams.topics import Names
from tests.support.kafka import Read, read_all


@asynccontextmanager
async def journaling(
    config: Config, make: Callable[[], OrderedProducer] | None = None, shards: Shards | None = None
) -> AsyncIterator[Journal]:
    """One process that moves journals."""
    assert config.postgres_dsn is not None and config.valkey_url is not None
    database = Database(config.postgres_dsn.get_secret_value())
    book, store, valkey = LineBook(database), LineStore(Channel(config.valkey_url)), client(config.valkey_url)
    shards = shards or Shards(database, f"journal-{uuid.uuid4().hex[:6]}", "journal-test", uuid.uuid4().hex, SHARDS)
    publisher = Publisher(make or (lambda: OrderedProducer(config, "journal-test")), "journal-test")
    topic = Names(config.topic_prefix).queue_journal
    journal = Journal(JournalStore(store), book, shards, publisher, topic)
    ear = Listener(valkey, JOURNAL_CHANNEL, journal.heard, journal.sweep_soon)
    services = [ear, journal, shards, book]
    for service in reversed(services):
        await service.start()
    try:
        yield journal
    finally:
        for service in services:
            await service.stop()
        await store.channel.close()
        await valkey.aclose()
        await database.close()


async def records(config: Config, event_id: str) -> list[Read]:
    found = await asyncio.to_thread(read_all, config, Names(config.topic_prefix).queue_journal)
    return [record for record in found if record.key == event_id]


async def ledger(config: Config, event_id: str) -> Ledger:
    """What the topic says of this line now."""
    made = Ledger()
    for record in await records(config, event_id):
        made.read(msgspec.convert(record.value, QueueJournal))
    return made


async def until_empty(journal: Journal, store: LineStore, event_id: str, within_s: float = 30.0) -> None:
    """Until Kafka has all of this line's journal."""
    async with asyncio.timeout(within_s):
        while await store.channel.command("XLEN", store.keys(event_id).journal):
            journal.heard(event_id)
            await asyncio.sleep(0.02)
