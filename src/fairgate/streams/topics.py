"""The topics: their names, what each must be like, and how an existing cluster is brought there.

Decided purely (`plan`), done thinly (`apply`). What would move keys or lose records is told, never done:

| differs | done |
| --- | --- |
| missing topic | created |
| a setting | corrected |
| a retention that keeps more than asked | only when asked to `shorten`: shortening deletes records |
| partitions | never: more of them move keys, so only between sales, by hand |
| replication | never: it moves data between brokers |
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fairgate.config import Config
from fairgate.errors import ServerUnreachable
from fairgate.streams.settings import connection

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
# Everything of one key goes through one partition; six let six workers share a night.
PARTITIONS = 6
ANSWER_S = 30.0
VISIBLE_S = 10.0
RETENTIONS = ("retention.ms", "retention.bytes")
UNLIMITED = -1


class Names:
    """Every topic name, with the prefix that lets several Fairgates share a cluster."""

    def __init__(self, prefix: str = "") -> None:
        self.ticket_issue = f"{prefix}ticket-issue"
        self.ticket_issued = f"{prefix}ticket-issued"
        self.notification = f"{prefix}notification"
        self.queue_journal = f"{prefix}queue-journal"

    def dead_letters(self, topic: str) -> str:
        """Where what cannot be processed goes, with the reason."""
        return f"{topic}.dlq"

    @property
    def work(self) -> tuple[str, str, str]:
        """The topics whose records are work for somebody, each with its dead letters."""
        return self.ticket_issue, self.ticket_issued, self.notification


@dataclass(frozen=True)
class Topic:
    """What a topic must be like."""

    name: str
    partitions: int
    replication: int
    settings: Mapping[str, str]


@dataclass(frozen=True)
class Found:
    """What a topic in the cluster is like."""

    partitions: int
    replication: int
    settings: Mapping[str, str]


@dataclass(frozen=True)
class Create:
    topic: Topic


@dataclass(frozen=True)
class Correct:
    """Settings to change: name → (found, wanted)."""

    name: str
    changes: Mapping[str, tuple[str, str]]


@dataclass(frozen=True)
class Leave:
    """A difference that stays, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Plan:
    creates: list[Create] = field(default_factory=list)
    corrects: list[Correct] = field(default_factory=list)
    leaves: list[Leave] = field(default_factory=list)
    development: bool = False

    @property
    def nothing_to_do(self) -> bool:
        return not self.creates and not self.corrects


def catalogue(prefix: str, brokers: int) -> list[Topic]:
    """All topics for a cluster of that many brokers (F21). Fewer than three brokers is "development"."""
    names = Names(prefix)
    replication = min(3, brokers)
    shared = {
        "cleanup.policy": "delete",  # never compact: it would keep only an event's last request
        "min.insync.replicas": str(max(1, replication - 1)),
        "segment.bytes": "134217728",
        "unclean.leader.election.enable": "false",  # managed clusters may allow it: acknowledged records would go
    }
    work = {**shared, "retention.ms": str(DAY_MS), "retention.bytes": "1073741824", "segment.ms": str(HOUR_MS)}
    dead = {**work, "retention.ms": str(14 * DAY_MS), "segment.ms": str(DAY_MS)}
    # A line's whole life, however large: a line is rebuilt from it.
    journal = {**dead, "retention.ms": str(7 * DAY_MS), "retention.bytes": str(UNLIMITED)}
    return [
        *(Topic(name, PARTITIONS, replication, work) for name in names.work),
        *(Topic(names.dead_letters(name), PARTITIONS, replication, dead) for name in names.work),
        Topic(names.queue_journal, PARTITIONS, replication, journal),
    ]


def plan(wanted: Iterable[Topic], found: Mapping[str, Found], *, development: bool, shorten: bool = False) -> Plan:
    """What to do about each difference."""
    result = Plan(development=development)
    for topic in wanted:
        if topic.name in found:
            _compare(topic, found[topic.name], result, shorten)
        else:
            result.creates.append(Create(topic))
    return result


def _compare(topic: Topic, found: Found, result: Plan, shorten: bool) -> None:
    result.leaves.extend(Leave(topic.name, reason) for reason in _shape_differences(topic, found))
    differing = {name: (found.settings.get(name, ""), value) for name, value in _possible(topic, found).items()}
    changes = {name: change for name, change in differing.items() if change[0] != change[1]}
    kept = {} if shorten else {name: change for name, change in changes.items() if _shortens(name, *change)}
    result.leaves.extend(
        Leave(topic.name, f"{name} is {was}, not {to}: shortening deletes records, only with --shorten")
        for name, (was, to) in kept.items()
    )
    if corrections := {name: change for name, change in changes.items() if name not in kept}:
        result.corrects.append(Correct(topic.name, corrections))


def _shape_differences(topic: Topic, found: Found) -> list[str]:
    reasons = []
    if found.partitions != topic.partitions:
        reasons.append(
            f"{found.partitions} partitions, not {topic.partitions}: a change moves keys, only between sales"
        )
    if found.replication != topic.replication:
        reasons.append(f"replication {found.replication}, not {topic.replication}: a change moves data between brokers")
    return reasons


def _possible(topic: Topic, found: Found) -> dict[str, str]:
    """The settings that this topic can bear: more in-sync replicas than it has would refuse every record."""
    bearable = min(int(topic.settings["min.insync.replicas"]), max(1, found.replication - 1))
    return {**topic.settings, "min.insync.replicas": str(bearable)}


def _shortens(name: str, was: str, to: str) -> bool:
    if name not in RETENTIONS or not was:
        return False
    old, new = int(was), int(to)
    return new != UNLIMITED and (old == UNLIMITED or old > new)


# ---- the thin part


def admin(config: Config) -> Any:
    """A client for `survey` and `apply`."""
    from confluent_kafka.admin import AdminClient

    # its remarks about itself are nothing for an operator; what fails is raised
    return AdminClient({"log_level": 0, **connection(config)})


def look(client: Any, names: Iterable[str], within_s: float = ANSWER_S) -> tuple[int, dict[str, Found]]:
    """Number of brokers, and those of `names` that exist. Blocks. Raises `ServerUnreachable`."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import ConfigResource  # type: ignore[attr-defined]

    try:
        metadata = client.list_topics(timeout=within_s)
        existing = {name: metadata.topics[name].partitions for name in names if name in metadata.topics}
        asked = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in existing]
        answers = _known(_describe(client, asked, within_s), within_s)
    except KafkaException as error:
        raise ServerUnreachable(f"Kafka does not answer: {error.args[0].str()}", "`fairgate status`") from error
    found = {
        name: Found(
            len(partitions),
            min(len(partition.replicas) for partition in partitions.values()),
            {entry.name: entry.value for entry in answers[name].values()},
        )
        for name, partitions in existing.items()
        if name in answers
    }
    return len(metadata.brokers), found


def _known(replies: list[tuple[Any, Any]], within_s: float) -> dict[str, Any]:
    """Settings by topic. The broker that is asked may not know a topic yet that another has just told of."""
    from confluent_kafka import KafkaError, KafkaException

    answers = {}
    for resource, reply in replies:
        try:
            answers[resource.name] = reply.result(within_s)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise
    return answers


def _describe(client: Any, resources: list[Any], within_s: float) -> list[tuple[Any, Any]]:
    return list(client.describe_configs(resources, request_timeout=within_s).items()) if resources else []


def survey(client: Any, prefix: str, *, shorten: bool = False) -> Plan:
    """What `apply` would do now. Blocks. Raises `ServerUnreachable`."""
    brokers, found = look(client, [topic.name for topic in catalogue(prefix, 3)])
    return plan(catalogue(prefix, brokers), found, development=brokers < 3, shorten=shorten)


def apply(client: Any, prefix: str, *, shorten: bool = False) -> Plan:
    """Bring the cluster there and say what was done and what was left. A repeat finds nothing to do. Blocks."""
    done = survey(client, prefix, shorten=shorten)
    _create(client, [create.topic for create in done.creates])
    _correct(client, done.corrects)
    _wait_visible(client, prefix, shorten)
    return done


def _wait_visible(client: Any, prefix: str, shorten: bool) -> None:
    """The controller confirms before the brokers know; who uses a topic right after this must find it."""
    deadline = time.monotonic() + VISIBLE_S
    while not survey(client, prefix, shorten=shorten).nothing_to_do and time.monotonic() < deadline:
        time.sleep(0.05)


def _create(client: Any, topics: list[Topic]) -> None:
    from confluent_kafka import KafkaError, KafkaException
    from confluent_kafka.admin import NewTopic  # type: ignore[attr-defined]

    new = [NewTopic(t.name, t.partitions, t.replication, config=dict(t.settings)) for t in topics]
    for outcome in client.create_topics(new, operation_timeout=ANSWER_S).values() if new else ():
        try:
            outcome.result(ANSWER_S)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:  # somebody else applied at the same moment
                raise


def _correct(client: Any, corrects: list[Correct]) -> None:
    from confluent_kafka.admin import (  # type: ignore[attr-defined]
        AlterConfigOpType,
        ConfigEntry,
        ConfigResource,
    )

    def entry(name: str, value: str) -> Any:
        return ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)

    resources = [
        ConfigResource(
            ConfigResource.Type.TOPIC,
            correct.name,
            incremental_configs=[entry(name, wanted) for name, (_, wanted) in correct.changes.items()],
        )
        for correct in corrects
    ]
    for outcome in client.incremental_alter_configs(resources).values() if resources else ():
        outcome.result(ANSWER_S)
