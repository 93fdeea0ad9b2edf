"""What Kafka holds: every record of every topic from the beginning, read by clients of their own.

Twice: as any reader gets it (`read_committed`), and raw, so that what was aborted or written again is counted.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator
from typing import Any

import msgspec

from fairgate.config import Config
from fairgate.domain.messages import CE_ID
from fairgate.errors import Unavailable
from fairgate.streams.dead_letters import OFFSET, PARTITION, REASON, TOPIC
from fairgate.streams.settings import connection
from fairgate.streams.topics import Names

READ_S = 120.0
METADATA_S = 10.0
PER_POLL = 2_000
WORK = ("ticket-issue", "ticket-issued", "notification")


class Logged(msgspec.Struct, frozen=True):
    """One record. `topic` is the logical name."""

    topic: str
    partition: int
    offset: int
    message_id: str
    value: bytes
    user_id: str
    ticket_id: str | None = None
    number: int | None = None
    kind: str | None = None
    sequence: int | None = None

    @property
    def where(self) -> str:
        return f"{self.topic}-{self.partition}@{self.offset}"


class DeadLetter(msgspec.Struct, frozen=True):
    """`source` is the record that died, as `topic-partition@offset`; `where` is the letter itself."""

    where: str
    source: str
    reason: str
    message_id: str


class Log(msgspec.Struct, frozen=True):
    """`records` by event; `raw` and `aborted` count records by topic."""

    records: dict[str, list[Logged]]
    dead: list[DeadLetter]
    raw: dict[str, int]
    aborted: dict[str, int]

    def of(self, event_id: str) -> list[Logged]:
        return self.records.get(event_id, [])


def read_log(config: Config, event_ids: Collection[str]) -> Log:
    """These events' records, in the order of each partition, and all dead letters. Blocks. Raises `Unavailable`."""
    records: dict[str, list[Logged]] = defaultdict(list)
    dead, committed = [], Counter[str]()
    for topic, message in _read(config, "read_committed"):
        committed[topic] += 1
        if topic.endswith(".dlq"):
            dead.append(_dead(config.topic_prefix, topic, message))
        else:
            event_id, record = _logged(topic, message)
            if record is not None and event_id in event_ids:
                records[event_id].append(record)
    raw = Counter(topic for topic, _ in _read(config, "read_uncommitted"))
    return Log(dict(records), dead, dict(raw), dict(raw - committed))


def _read(config: Config, isolation: str) -> Iterator[tuple[str, Any]]:
    """Logical topic and message, up to where each partition ended when it was reached."""
    from confluent_kafka import Consumer, KafkaException

    consumer = Consumer(_reader(config, isolation))
    try:
        yield from _all(consumer, Names(config.topic_prefix))
    except KafkaException as error:
        raise Unavailable(f"Kafka does not give its records: {error}") from error
    finally:
        consumer.close()


def _all(consumer: Any, names: Names) -> Iterator[tuple[str, Any]]:
    from confluent_kafka import KafkaError, TopicPartition

    logical = {topic: name for work, plain in zip(names.work, WORK, strict=True)
               for topic, name in ((work, plain), (names.dead_letters(work), f"{plain}.dlq"))}  # fmt: skip
    there = consumer.list_topics(timeout=METADATA_S).topics
    unread = {(topic, number) for topic in logical if topic in there for number in there[topic].partitions}
    consumer.assign([TopicPartition(topic, number, 0) for topic, number in sorted(unread)])
    deadline = time.monotonic() + READ_S
    while unread:
        if time.monotonic() > deadline:
            raise Unavailable(f"Kafka did not give all records within {READ_S:.0f} s")
        for message in consumer.consume(PER_POLL, timeout=1.0):
            error = message.error()
            if error is None:
                yield logical[message.topic()], message
            elif error.code() == KafkaError._PARTITION_EOF:
                unread.discard((message.topic(), message.partition()))


def _reader(config: Config, isolation: str) -> dict[str, Any]:
    return {
        **connection(config),
        "client.id": "fairgate-checker",
        "group.id": "fairgate-checker",  # never used to commit
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
        "isolation.level": isolation,
        "enable.partition.eof": True,
    }


def _logged(topic: str, message: Any) -> tuple[str, Logged | None]:
    """Its event and the record; None where it is about no event or user."""
    try:
        body = msgspec.json.decode(message.value() or b"")
        event_id = str(body.get("eventId") or (body.get("data") or {}).get("eventId"))
        user_id = body["userId"]
    except (msgspec.DecodeError, AttributeError, KeyError, TypeError):
        return "", None
    return event_id, Logged(
        topic=topic,
        partition=message.partition(),
        offset=message.offset(),
        message_id=_header(message, CE_ID),
        value=message.value(),
        user_id=user_id,
        ticket_id=body.get("ticketId"),
        number=body.get("number"),
        kind=body.get("kind"),
        sequence=body.get("sequence") or (body.get("data") or {}).get("sequence"),
    )


def _dead(prefix: str, topic: str, message: Any) -> DeadLetter:
    source = _header(message, TOPIC).removeprefix(prefix)
    return DeadLetter(
        where=f"{topic}-{message.partition()}@{message.offset()}",
        source=f"{source}-{_header(message, PARTITION)}@{_header(message, OFFSET)}",
        reason=_header(message, REASON),
        message_id=_header(message, CE_ID),
    )


def _header(message: Any, name: str) -> str:
    return (dict(message.headers() or []).get(name) or b"").decode(errors="replace")
