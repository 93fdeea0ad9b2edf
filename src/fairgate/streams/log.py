"""How far a topic has grown, how far a group has read it, and how old is what it has not read. Blocking inside, so each
call goes to a thread.

Asked through a consumer that never subscribes: the admin client's `list_consumer_group_offsets` (confluent-kafka 2.16)
takes the process down when a broker goes away while the question is on its way.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from fairgate.config import Config
from fairgate.errors import Unavailable
from fairgate.streams.kafka_log import kafka_log
from fairgate.streams.settings import connection

ANSWER_S = 10.0
FETCH_BYTES = 16_384

# A coordinator or a leader is still being found or is reading its log, as after a start or a fail-over: soon it will
# tell.
MOVING = {
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
}
ASK_AGAIN_S = 0.1

Offsets = dict[int, int]  # partition → offset

T = TypeVar("T")


class Unread(NamedTuple):
    """What a group has not read of one partition: how many messages at most, and when the oldest was written."""

    messages: int
    oldest_ms: int


class Log:
    """What one group makes of topics. Raises `Unavailable` where Kafka does not answer."""

    def __init__(self, config: Config, group: str) -> None:
        settings: dict[str, Any] = {
            **connection(config),
            "group.id": group,
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            # Only the first record behind a commit is ever fetched.
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "fetch.message.max.bytes": FETCH_BYTES,
            "queued.min.messages": 1,
        }
        self.group = group
        self._settings = settings
        self._consumer: Any = None
        self._one_at_a_time = threading.Lock()

    async def ends(self, topic: str) -> Offsets:
        """Where the next record of each partition will stand."""
        return await asyncio.to_thread(self._asked, self._ends, topic)

    async def committed(self, topic: str, partitions: Sequence[int]) -> Offsets:
        """What the group has committed; a partition without a commit is absent."""
        return await asyncio.to_thread(self._asked, self._committed, topic, partitions)

    async def unread(self, topic: str) -> dict[int, Unread]:
        """Per partition, where there is something. A commit that has only transaction markers behind it has nothing."""
        return await asyncio.to_thread(self._asked, self._unread, topic)

    async def close(self) -> None:
        if self._consumer is not None:
            await asyncio.to_thread(self._consumer.close)

    def _asked(self, question: Callable[..., T], topic: str, *args: Any) -> T:
        with self._one_at_a_time:
            if self._consumer is None:
                self._consumer = Consumer(self._settings, logger=kafka_log)
            give_up = time.monotonic() + ANSWER_S
            while True:
                try:
                    return question(topic, *args)
                except KafkaException as error:
                    if error.args[0].code() not in MOVING or time.monotonic() > give_up:
                        raise Unavailable(f"Kafka does not tell about {topic}: {error}") from error
                    time.sleep(ASK_AGAIN_S)

    def _ends(self, topic: str) -> Offsets:
        known = self._consumer.list_topics(topic, timeout=ANSWER_S).topics[topic]
        if known.error is not None:
            raise Unavailable(f"Kafka does not know {topic}: {known.error}")
        return {
            partition: self._consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=ANSWER_S)[1]
            for partition in known.partitions
        }

    def _committed(self, topic: str, partitions: Sequence[int]) -> Offsets:
        asked = [TopicPartition(topic, partition) for partition in partitions]
        answers = self._consumer.committed(asked, timeout=ANSWER_S)
        return {answer.partition: answer.offset for answer in answers if answer.offset >= 0}

    def _unread(self, topic: str) -> dict[int, Unread]:
        ends = self._ends(topic)
        committed = self._committed(topic, list(ends))
        starts = {partition: committed.get(partition, 0) for partition in ends}
        first = self._first(topic, {partition: start for partition, start in starts.items() if start < ends[partition]})
        return {
            partition: Unread(ends[partition] - offset, written_ms)
            for partition, (offset, written_ms) in first.items()
            if offset < ends[partition]
        }

    def _first(self, topic: str, starts: Offsets) -> dict[int, tuple[int, int]]:
        """Offset and time of the first record from these on; a partition without one is absent."""
        found: dict[int, tuple[int, int]] = {}
        looking, give_up = set(starts), time.monotonic() + ANSWER_S
        if starts:
            self._consumer.assign([TopicPartition(topic, *start) for start in starts.items()])
        try:
            while looking:
                message = self._consumer.poll(max(0.0, give_up - time.monotonic()))
                if message is None:
                    raise Unavailable(f"Kafka does not give the records of {topic}")
                if message.error() is None and message.partition() in looking:
                    found[message.partition()] = message.offset(), message.timestamp()[1]
                if message.error() is None or message.error().code() == KafkaError._PARTITION_EOF:
                    looking.discard(message.partition())
        finally:
            self._consumer.unassign()
        return found


def has_passed(committed: Offsets, ends: Offsets) -> bool:
    """Whether a group has read everything that was there when `ends` was asked."""
    return all(committed.get(partition, 0) >= end for partition, end in ends.items())
