"""The emergency cut of retention (F29), for a disk that fills up: what every group has read may go early.

Deleting is by whole segments, and the newest one never goes: `segment.ms` is cut too, so that there are older ones.
Blocking, like everything of the admin client.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from fairgate.errors import Conflict, Unavailable
from fairgate.streams.topics import HOUR_MS

CUT_MS = HOUR_MS
CUT_SEGMENT_MS = 600_000
ANSWER_S = 15.0
SETTINGS = ("retention.ms", "segment.ms")


class WouldDeleteUnread(Conflict):
    """Records that somebody has not read are older than the cut."""

    kind, title = "would-delete-unread", "Unread records are older than that"


class Cut(msgspec.Struct, frozen=True):
    """What a topic had before: `undo` puts it back."""

    topic: str
    before: dict[str, str]


def cut(client: Any, topic: str, unread: Mapping[str, Mapping[int, int]], *, now_ms: int) -> Cut:
    """Keep one hour only. `unread`: group → partition → its oldest unread offset; those read to the end are absent.

    Raises `WouldDeleteUnread`, `Unavailable`; then nothing was changed.
    """
    for group, offsets in unread.items():
        _require_young(client, topic, group, offsets, now_ms - CUT_MS)
    before = _settings(client, topic)
    _set(client, topic, {"retention.ms": str(CUT_MS), "segment.ms": str(CUT_SEGMENT_MS)})
    return Cut(topic, before)


def undo(client: Any, done: Cut) -> None:
    """As it was before. Raises `Unavailable`."""
    _set(client, done.topic, done.before)


def _require_young(client: Any, topic: str, group: str, offsets: Mapping[int, int], oldest_ms: int) -> None:
    """No unread record may be older than the cut: the first record that is younger must not lie behind the reader."""
    from confluent_kafka import KafkaException, TopicPartition
    from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined]

    asked = {TopicPartition(topic, partition): OffsetSpec.for_timestamp(oldest_ms) for partition in offsets}
    if not asked:
        return
    try:
        answers = client.list_offsets(asked, request_timeout=ANSWER_S)
        firsts = {where.partition: answer.result(ANSWER_S).offset for where, answer in answers.items()}
    except KafkaException as error:
        raise Unavailable(f"Kafka does not tell about {topic}: {error.args[0].str()}") from error
    behind = [partition for partition, first in firsts.items() if first < 0 or first > offsets[partition]]
    if behind:
        raise WouldDeleteUnread(f"{group} has not read what is older than an hour in {topic}: partitions {behind}")


def _settings(client: Any, topic: str) -> dict[str, str]:
    from confluent_kafka.admin import ConfigResource  # type: ignore[attr-defined]

    resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
    (entries,) = _results(client.describe_configs([resource], request_timeout=ANSWER_S))
    return {name: entries[name].value for name in SETTINGS}


def _set(client: Any, topic: str, values: Mapping[str, str]) -> None:
    from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource  # type: ignore[attr-defined]

    entries = [ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in values.items()]
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=entries)
    _results(client.incremental_alter_configs([resource], request_timeout=ANSWER_S))


def _results(answers: Mapping[Any, Any]) -> Sequence[Any]:
    from confluent_kafka import KafkaException

    try:
        return [answer.result(ANSWER_S) for answer in answers.values()]
    except KafkaException as error:
        raise Unavailable(f"Kafka: {error.args[0].str()}") from error
