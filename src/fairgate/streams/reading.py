"""Reading a topic from outside any group, once: for people and their commands. Blocking."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition

from fairgate.config import Config
from fairgate.errors import NotFound, Unavailable
from fairgate.streams.kafka_log import kafka_log
from fairgate.streams.log import ASK_AGAIN_S, MOVING
from fairgate.streams.records import Record, record_of
from fairgate.streams.settings import connection

ANSWER_S, CHUNK = 10.0, 500


def read_topic(config: Config, topic: str) -> Iterator[Record]:
    """What is committed, from the beginning to the end as it is now. Raises `NotFound`, `Unavailable`."""
    with _consumer(config, topic) as consumer:
        found = bounds(consumer, topic)
        yield from _between(consumer, topic, {partition: low for partition, (low, _) in found.items()}, found)


def read_at(config: Config, topic: str, partition: int, offset: int) -> Record:
    """One record. Raises `NotFound` where there is none (any more), `Unavailable`."""
    with _consumer(config, topic) as consumer:
        low, high = bounds(consumer, topic).get(partition, (0, 0))
        if low <= offset < high:
            for record in _between(consumer, topic, {partition: offset}, {partition: (offset, offset + 1)}):
                if record.offset == offset:
                    return record
    raise NotFound(f"there is no record {partition}@{offset} in {topic}")


@contextmanager
def _consumer(config: Config, topic: str) -> Iterator[Any]:
    settings = {
        **connection(config),
        "group.id": "fairgate-looks",  # the client asks for a name; nothing is ever committed under it
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
        "isolation.level": "read_committed",
    }
    try:
        consumer = Consumer(settings, logger=kafka_log)
        try:
            yield consumer
        finally:
            consumer.close()
    except KafkaException as error:
        raise Unavailable(f"Kafka does not tell about {topic}: {error.args[0].str()}") from error


def bounds(consumer: Any, topic: str) -> dict[int, tuple[int, int]]:
    """Where each partition begins and ends now. A leader that moves is asked again. Raises `NotFound`."""
    known = consumer.list_topics(topic, timeout=ANSWER_S).topics[topic]
    if known.error is not None:
        raise NotFound(f"there is no topic {topic}")
    give_up = time.monotonic() + ANSWER_S
    while True:
        try:
            return {
                p: consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=ANSWER_S)
                for p in sorted(known.partitions)
            }
        except KafkaException as error:
            if error.args[0].code() not in MOVING or time.monotonic() > give_up:
                raise
            time.sleep(ASK_AGAIN_S)


def _between(
    consumer: Any, topic: str, starts: Mapping[int, int], found: Mapping[int, tuple[int, int]]
) -> Iterator[Record]:
    """Up to the ends that were asked for: behind the last record there may be transaction markers only."""
    ends = {partition: found[partition][1] for partition in starts if starts[partition] < found[partition][1]}
    consumer.assign([TopicPartition(topic, partition, starts[partition]) for partition in ends])
    silent_since = time.monotonic()
    while ends:
        messages = consumer.consume(CHUNK, 0.1)
        for message in messages:
            if message.error() is None and message.offset() < found[message.partition()][1]:
                yield record_of(message)
        for place in consumer.position([TopicPartition(topic, partition) for partition in ends]):
            if place.offset >= ends[place.partition]:
                del ends[place.partition]
        silent_since = time.monotonic() if messages else silent_since
        if time.monotonic() - silent_since > ANSWER_S:
            raise Unavailable(f"Kafka does not give the records of {topic}")
