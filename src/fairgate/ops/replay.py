"""Reading again from another place (F25): the group's offsets, moved while nobody reads.

No effect is repeated: a ticket that is there is announced under the same id, an inbox row that is there is not told.
Only an empty group is moved, and Kafka itself refuses it otherwise, also when a member comes in the last moment. To
move forward would skip what nobody has read: that is asked for apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from fairgate.config import Config
from fairgate.errors import InvalidRequest, Unavailable, Unsafe
from fairgate.notification.tell import GROUP as NOTIFICATION_GROUP
from fairgate.streams.groups import describe
from fairgate.streams.kafka_log import kafka_log
from fairgate.streams.reading import bounds
from fairgate.streams.settings import connection
from fairgate.streams.topics import Names, admin
from fairgate.ticketing.settle import GROUP as TICKETING_GROUP

ANSWER_S = 10.0
# Kafka's answers to a commit from outside a group that has members.
ACTIVE = {
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.REBALANCE_IN_PROGRESS,
    KafkaError.STALE_MEMBER_EPOCH,
}


class To(NamedTuple):
    """Where to: exactly one of these."""

    offset: int | None = None
    moment: datetime | None = None
    earliest: bool = False
    latest: bool = False


class Move(msgspec.Struct, frozen=True, rename="camel"):
    """One partition: `before` and `after` are the next offset to read. Counts are at most: markers count as well."""

    topic: str
    partition: int
    before: int
    after: int
    repeated: int
    skipped: int


def plan(config: Config, group: str, topic: str | None, to: To) -> list[Move]:
    """What `apply` would do now. Blocks. Raises `InvalidRequest`, `Unavailable`."""
    with _consumer(config, _full(config, group)) as consumer:
        return [
            move
            for name in _topics(config, group, topic)
            for move in _moves(name, _before(consumer, name), _targets(consumer, name, to))
        ]


def apply(config: Config, group: str, moves: list[Move], *, skip: bool = False) -> None:
    """Blocks. Raises `Unsafe` while the group has members, or where messages would be skipped without `skip`."""
    refuse_while_active(config, group)
    skipped = sum(move.skipped for move in moves)
    if skipped and not skip:
        raise Unsafe(
            f"up to {skipped} messages that nobody has read would be skipped", "if that is meant: --skip-unread"
        )
    changed = [move for move in moves if move.after != move.before]
    with _consumer(config, _full(config, group)) as consumer:
        if changed:
            consumer.commit(
                offsets=[TopicPartition(move.topic, move.partition, move.after) for move in changed], asynchronous=False
            )


def refuse_while_active(config: Config, group: str) -> None:
    """Raises `Unsafe` where the group has members."""
    [found] = describe(admin(config), [_full(config, group)])
    if found.members:
        raise Unsafe(
            f"group {found.name} is active: {found.members} members, {found.state}",
            "stop the processes of its role and wait until their sessions end (30 s)",
        )


def _full(config: Config, group: str) -> str:
    return group if group.startswith(config.topic_prefix) else config.topic_prefix + group


def _topics(config: Config, group: str, topic: str | None) -> list[str]:
    names = Names(config.topic_prefix)
    known = {
        config.topic_prefix + TICKETING_GROUP: [names.ticket_issue],
        config.topic_prefix + NOTIFICATION_GROUP: [names.ticket_issued, names.notification],
    }.get(_full(config, group))
    if topic is not None:
        wanted = topic if topic.startswith(config.topic_prefix) else config.topic_prefix + topic
        if known is not None and wanted not in known:
            raise InvalidRequest(f"{group} reads {', '.join(known)}, not {topic}")
        return [wanted]
    if known is None:
        raise InvalidRequest(f"{group} is no group of Fairgate: name its topic with --topic")
    return known


@contextmanager
def _consumer(config: Config, group: str) -> Iterator[Any]:
    """One that never subscribes, so it is no member."""
    settings = {
        **connection(config),
        "group.id": group,
        "enable.auto.commit": False,
        "isolation.level": "read_committed",
    }
    consumer = Consumer(settings, logger=kafka_log)
    try:
        yield consumer
    except KafkaException as error:
        if error.args[0].code() in ACTIVE:
            raise Unsafe(f"group {group} became active: nothing was moved", "stop its processes first") from error
        raise Unavailable(f"Kafka: {error.args[0].str()}") from error
    finally:
        consumer.close()


def _before(consumer: Any, topic: str) -> dict[int, int]:
    """Where nothing is committed the group starts at the beginning."""
    ends = bounds(consumer, topic)
    answers = consumer.committed([TopicPartition(topic, partition) for partition in ends], timeout=ANSWER_S)
    return {p.partition: p.offset if p.offset >= 0 else ends[p.partition][0] for p in answers}


def _targets(consumer: Any, topic: str, to: To) -> dict[int, int]:
    found = bounds(consumer, topic)
    if to.moment is not None:
        return _at(consumer, topic, found, int(to.moment.timestamp() * 1000))
    if to.offset is not None:
        return {partition: min(max(low, to.offset), high) for partition, (low, high) in found.items()}
    return {partition: low if to.earliest else high for partition, (low, high) in found.items()}


def _at(consumer: Any, topic: str, found: Mapping[int, tuple[int, int]], moment_ms: int) -> dict[int, int]:
    """The first record that is not older; the end where there is none."""
    asked = [TopicPartition(topic, partition, moment_ms) for partition in found]
    answers = consumer.offsets_for_times(asked, timeout=ANSWER_S)
    return {p.partition: p.offset if p.offset >= 0 else found[p.partition][1] for p in answers}


def _moves(topic: str, before: Mapping[int, int], after: Mapping[int, int]) -> list[Move]:
    return [
        Move(topic, p, before[p], after[p], max(0, before[p] - after[p]), max(0, after[p] - before[p]))
        for p in sorted(before)
    ]
