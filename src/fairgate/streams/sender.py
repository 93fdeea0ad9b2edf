"""Sends records and returns when Kafka has them: for what is rare, and must be there before the next step."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from fairgate.config import Config
from fairgate.errors import Unavailable
from fairgate.streams.dead_letters import Message
from fairgate.streams.kafka_log import kafka_log
from fairgate.streams.producer import SETTINGS
from fairgate.streams.settings import connection

# A leader change takes up to 12 s.
ACKNOWLEDGED_S = 15.0


class Sender:
    """An idempotent producer of its own, made at the first record: most processes never need one."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._producer: Any = None

    async def send(self, messages: Sequence[Message]) -> None:
        """Raises `Unavailable` when not all are acknowledged: some may be there, so what is sent again repeats."""
        await asyncio.to_thread(self._send, messages)

    def _send(self, messages: Sequence[Message]) -> None:
        from confluent_kafka import KafkaException, Producer

        producer = self._producer or Producer({**connection(self._config), **SETTINGS}, logger=kafka_log)
        self._producer = None  # until it has proved itself again
        failures: list[object] = []
        try:
            for message in messages:
                producer.produce(
                    message.topic,
                    message.value,
                    message.key,
                    headers=message.headers,
                    on_delivery=lambda error, _: failures.append(error) if error else None,
                )
            left = producer.flush(ACKNOWLEDGED_S)
        except (KafkaException, BufferError) as error:
            raise Unavailable(f"Kafka does not take what is sent: {error}") from error
        if left or failures:
            producer.purge()
            raise Unavailable(f"Kafka did not acknowledge: {failures[:1] or left}")
        self._producer = producer
