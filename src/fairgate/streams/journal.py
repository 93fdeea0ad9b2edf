"""Reads topic `queue-journal` for lines that are to be rebuilt: once, from their creation to the end as it is now."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec
import structlog
from confluent_kafka import Consumer, KafkaException, TopicPartition

from fairgate.config import Config
from fairgate.domain.journal import Ledger
from fairgate.domain.messages import QueueJournal
from fairgate.errors import Unavailable
from fairgate.streams.kafka_log import kafka_log
from fairgate.streams.settings import connection
from fairgate.streams.topics import Names

log = structlog.get_logger("fairgate.journal")

ANSWER_S = 10.0
# A read that gets nothing for so long is given up and begun anew: Kafka moves a leader within this.
STALL_S = 15.0
BATCH, POLL_S = 2_000, 0.2

_decode = msgspec.json.Decoder(QueueJournal).decode


class JournalReader:
    """Reads with a consumer of its own that joins no group and commits nothing."""

    def __init__(self, config: Config) -> None:
        self._topic = Names(config.topic_prefix).queue_journal
        self._settings: dict[str, Any] = {
            **connection(config),
            "group.id": f"{config.topic_prefix}queue-rebuild",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
            "max.partition.fetch.bytes": 8 * 1024 * 1024,
        }

    async def read(self, since: Mapping[str, datetime]) -> dict[str, Ledger]:
        """What the journal says of these lines (event id → creation). Raises `Unavailable`: then nothing is known."""
        return await asyncio.to_thread(self._read, since)

    def _read(self, since: Mapping[str, datetime]) -> dict[str, Ledger]:
        ledgers = {event_id: Ledger() for event_id in since}
        by_key = {event_id.encode(): ledger for event_id, ledger in ledgers.items()}
        consumer: Any = None
        try:
            consumer = Consumer(self._settings, logger=kafka_log)
            starts, ends = self._bounds(consumer, min(since.values()))
            consumer.assign([TopicPartition(self._topic, partition, offset) for partition, offset in starts.items()])
            self._until(consumer, {p: end for p, end in ends.items() if starts[p] < end}, by_key)
        except KafkaException as error:
            raise Unavailable(f"the journal cannot be read: {error.args[0].str()}") from error
        finally:
            if consumer is not None:
                consumer.close()
        return ledgers

    def _bounds(self, consumer: Any, since: datetime) -> tuple[dict[int, int], dict[int, int]]:
        """By partition: where to begin, and the end as it is now."""
        known = consumer.list_topics(self._topic, timeout=ANSWER_S).topics[self._topic]
        if known.error is not None:
            raise Unavailable(f"the journal cannot be read: {known.error.str()} (`fairgate topics apply`)")
        from_ms = int(since.timestamp() * 1000)
        asked = [TopicPartition(self._topic, partition, from_ms) for partition in known.partitions]
        edges = {p: consumer.get_watermark_offsets(TopicPartition(self._topic, p), ANSWER_S) for p in known.partitions}
        found = consumer.offsets_for_times(asked, timeout=ANSWER_S)
        starts = {one.partition: one.offset if one.offset >= 0 else edges[one.partition][1] for one in found}
        return {p: max(start, edges[p][0]) for p, start in starts.items()}, {p: high for p, (_, high) in edges.items()}

    def _until(self, consumer: Any, ends: Mapping[int, int], by_key: Mapping[bytes, Ledger]) -> None:
        """Take in all records before these ends."""
        missing, deadline = dict(ends), time.monotonic() + STALL_S
        while missing:
            messages = consumer.consume(BATCH, POLL_S)
            for message in messages:
                if message.error() is not None:
                    raise KafkaException(message.error())
                ledger = by_key.get(message.key() or b"")
                if ledger is not None:
                    _take_in(ledger, message)
            asked = [TopicPartition(self._topic, partition) for partition in missing]
            for reached in consumer.position(asked):
                if reached.offset >= missing[reached.partition]:
                    del missing[reached.partition]
            deadline = time.monotonic() + STALL_S if messages else deadline
            if time.monotonic() > deadline:
                raise Unavailable(f"the journal cannot be read: nothing came for {STALL_S:.0f} s")


def _take_in(ledger: Ledger, message: Any) -> None:
    """What is no record of ours is passed over: one bad record must not hold up a line."""
    try:
        record = _decode(message.value() or b"")
        if len(record.users) != len(record.sequences):
            raise msgspec.ValidationError("users and sequences do not go in pairs")
        ledger.read(record)
    except msgspec.DecodeError as error:
        where = f"{message.partition()}@{message.offset()}"
        log.warning("a record of the journal cannot be read", at=where, error=str(error))
