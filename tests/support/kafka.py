"""Reading topics from outside, with a fresh consumer, as any other service would."""

from __future__ import annotations

import json
import time
import uuid
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from fairgate.config import Config
from fairgate.streams.settings import connection


class Read(NamedTuple):
    key: str
    value: dict[str, Any]
    message_id: str
    partition: int
    offset: int


def read_all(config: Config, topic: str, within_s: float = 20.0) -> list[Read]:
    """Every committed record from the beginning to the present end, in the order of each partition."""
    consumer = Consumer(
        {
            **connection(config),
            "group.id": f"test-{uuid.uuid4().hex}",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
        }
    )
    try:
        partitions = list(consumer.list_topics(topic, timeout=within_s).topics[topic].partitions)
        ends = {p: _end(consumer, TopicPartition(topic, p), time.monotonic() + within_s) for p in partitions}
        consumer.assign([TopicPartition(topic, p, 0) for p in partitions])
        return _until(consumer, topic, ends, time.monotonic() + within_s)
    finally:
        consumer.close()


def _end(consumer: Consumer, partition: TopicPartition, deadline: float) -> int:
    """Of a new topic, some partitions have a leader later than others."""
    while True:
        try:
            return int(consumer.get_watermark_offsets(partition, timeout=10.0)[1])
        except KafkaException as error:
            if error.args[0].code() != KafkaError.NOT_LEADER_FOR_PARTITION or time.monotonic() > deadline:
                raise
        time.sleep(0.05)


def _until(consumer: Consumer, topic: str, ends: dict[int, int], deadline: float) -> list[Read]:
    found: list[Read] = []
    while time.monotonic() < deadline:
        for message in consumer.consume(1_000, timeout=0.2):
            assert message.error() is None, message.error()
            headers = dict(message.headers() or [])
            found.append(
                Read(
                    (message.key() or b"").decode(),
                    json.loads(message.value() or b"null"),
                    (headers.get("ce_id") or b"").decode(),
                    message.partition() or 0,
                    message.offset() or 0,
                )
            )
        positions = consumer.position([TopicPartition(topic, p) for p in ends])
        if all(max(0, position.offset) >= ends[position.partition] for position in positions):
            return found
    raise TimeoutError(f"{topic} was not read to its end")
