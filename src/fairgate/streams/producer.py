"""A producer that keeps order and hides no failure. Blocking: call it from a thread of one's own.

`message.timeout.ms=0`: a record that times out while later ones of its key succeed would break the order for good. The
caller bounds the wait instead; on a stall it throws the producer away and starts again from its first row that is not
acknowledged.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import TypeAlias

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from fairgate.config import Config
from fairgate.errors import Unavailable
from fairgate.streams.kafka_log import kafka_log
from fairgate.streams.settings import connection

# Whoever sends a batch flushes behind it, which ends the lingering. Until then it only keeps the client from sending
# each few records by themselves while the others are still handed to it: every request is copied by two more brokers.
LINGER_MS = 50

# F22, and: a stopped broker is worse than a dead one, so do not wait a minute for its answer.
SETTINGS: dict[str, str | int | float | bool] = {
    "enable.idempotence": True,
    "acks": "all",
    "max.in.flight.requests.per.connection": 5,
    "partitioner": "murmur2_random",  # Java's and kafkajs' choice: the same key, the same partition
    "compression.type": "none",  # kafkajs reads no LZ4 without a plug-in
    "message.timeout.ms": 0,
    "socket.timeout.ms": 6_000,
    "linger.ms": LINGER_MS,
    "retry.backoff.ms": 5,
    "retry.backoff.max.ms": 500,
    "reconnect.backoff.ms": 50,
    "reconnect.backoff.max.ms": 1_000,
    "delivery.report.only.error": True,
    "queue.buffering.max.messages": 200_000,
}

# Whoever gets ready has nothing to send yet; who has, finds out by the producer itself.
READY_S = 1.0

Headers = list[tuple[str, str | bytes | None]]
# Key, value, headers.
Record: TypeAlias = tuple[str | bytes | None, str | bytes | None, Headers]


class OrderedProducer:
    """Publishes batches in order. One caller at a time."""

    def __init__(self, config: Config, client_id: str) -> None:
        self._producer = Producer({**connection(config), **SETTINGS, "client.id": client_id}, logger=kafka_log)
        self._failures: list[KafkaError] = []

    def get_ready(self, topics: Iterable[str]) -> None:
        """Connected, and told where these topics are, as far as Kafka answers within a second each."""
        with contextlib.suppress(KafkaException):
            for topic in topics:
                self._producer.list_topics(topic, READY_S)

    def send(self, topic: str, records: Iterable[Record]) -> None:
        """Queue (key, value, headers) in order; blocks only while the buffer is full. Raises `Unavailable`."""
        produce, failed = self._producer.produce, self._failed
        for key, value, headers in records:
            try:
                produce(topic, value, key, headers=headers, on_delivery=failed)
            except BufferError as error:
                raise Unavailable("Kafka does not take what is sent") from error
            except KafkaException as error:
                raise Unavailable(f"Kafka: {error}") from error

    def all_acknowledged(self, within_s: float) -> bool:
        """Wait until every record is acknowledged. False when the time is up. Raises `Unavailable` on a failure."""
        left = self._producer.flush(within_s)
        if self._failures:
            why, self._failures = self._failures[0], []
            raise Unavailable(f"Kafka refused a record: {why}")
        return left == 0

    def throw_away(self) -> None:
        """Forget what is not acknowledged. The producer is of no use afterwards."""
        self._producer.purge()
        self._producer.flush(1.0)

    def _failed(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self._failures.append(error)
