"""What the cluster says of itself: who leads what. Blocking questions, each bounded."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path
from typing import Any

import msgspec

from fairgate.errors import Unavailable
from fairgate.local.kafka import Kafka

ANSWER_S = 5.0
TRANSACTIONS, OFFSETS = "__transaction_state", "__consumer_offsets"


class Partition(msgspec.Struct, frozen=True):
    """As the metadata tell it; leader -1: none."""

    topic: str
    number: int
    leader: int
    in_sync: frozenset[int]
    replicas: frozenset[int]


class Cluster:
    """Asked past every proxy: a cut link must not blind the observer. Raises `Unavailable`."""

    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka
        self._admin: Any = None

    async def brokers(self) -> set[int]:
        """Those that take part."""
        return set((await self._metadata(None)).brokers)

    async def partitions(self, topic: str) -> dict[int, Partition]:
        found = (await self._metadata(topic)).topics[topic]
        if found.error is not None:
            raise Unavailable(f"Kafka does not know {topic}: {found.error}")
        return {
            number: Partition(topic, number, p.leader, frozenset(p.isrs), frozenset(p.replicas))
            for number, p in found.partitions.items()
        }

    async def transaction_coordinator(self, transactional_id: str) -> int:
        """The broker that decides this producer's transactions."""
        return await self._keeper(TRANSACTIONS, transactional_id)

    async def _keeper(self, topic: str, key: str) -> int:
        partitions = await self.partitions(topic)
        return partitions[java_hash(key) % len(partitions)].leader

    async def under_replicated(self) -> list[Partition]:
        """All topics' partitions that lack a replica."""
        topics = (await self._metadata(None)).topics
        return [
            Partition(name, number, p.leader, frozenset(p.isrs), frozenset(p.replicas))
            for name, topic in topics.items()
            for number, p in topic.partitions.items()
            if len(p.isrs) < len(p.replicas) or p.leader < 0
        ]

    async def whole(self) -> bool:
        """Every broker takes part, and every partition has all its replicas."""
        try:
            return len(await self.brokers()) == len(self._kafka.brokers) and not await self.under_replicated()
        except Unavailable:
            return False

    def quorum_leader(self) -> int | None:
        """The node (from 1) that leads the quorum, as the nodes wrote it down: needs no answer from anybody."""
        nodes = self._kafka.controllers or self._kafka.brokers
        states = [state for node in nodes if (state := _quorum_state(node.directory))]
        latest = max(states, key=lambda state: (state["leaderEpoch"], state["leaderId"] >= 0), default=None)
        if latest is None or latest["leaderId"] < 0:
            return None
        return next(index for index, node in enumerate(nodes, 1) if node.settings["node.id"] == str(latest["leaderId"]))

    async def _metadata(self, topic: str | None) -> Any:
        from confluent_kafka import KafkaException

        try:
            return await asyncio.to_thread(self._list, topic)
        except KafkaException as error:
            raise Unavailable(f"Kafka does not tell: {error.args[0].str()}") from error

    def _list(self, topic: str | None) -> Any:
        from confluent_kafka.admin import AdminClient

        if self._admin is None:
            quiet = {"log_level": 0, "reconnect.backoff.ms": 50, "reconnect.backoff.max.ms": 200}
            self._admin = AdminClient({**quiet, "bootstrap.servers": self._kafka.own_bootstrap})
        return self._admin.list_topics(timeout=ANSWER_S, **({} if topic is None else {"topic": topic}))


def java_hash(text: str) -> int:
    """`String.hashCode` without its sign, by which Kafka finds the keeper of a name."""
    value = 0
    for letter in text:
        value = (31 * value + ord(letter)) & 0xFFFFFFFF
    return value & 0x7FFFFFFF


def murmur2(key: str) -> int:
    """Java's hash of a record's key without its sign, by which it finds its partition."""
    data, mask = key.encode(), 0xFFFFFFFF
    value = 0x9747B28C ^ len(data)
    whole = len(data) & ~3
    for at in range(0, whole, 4):
        word = int.from_bytes(data[at : at + 4], "little") * 0x5BD1E995 & mask
        word = (word ^ word >> 24) * 0x5BD1E995 & mask
        value = (value * 0x5BD1E995 & mask) ^ word
    if rest := data[whole:]:
        value = (value ^ int.from_bytes(rest, "little")) * 0x5BD1E995 & mask
    value = (value ^ value >> 13) * 0x5BD1E995 & mask
    return (value ^ value >> 15) & 0x7FFFFFFF


def _quorum_state(directory: Path) -> dict[str, Any] | None:
    with contextlib.suppress(OSError, ValueError):  # not written yet, or being replaced
        content: dict[str, Any] = json.loads((directory / "log" / "__cluster_metadata-0" / "quorum-state").read_text())
        return content
    return None
