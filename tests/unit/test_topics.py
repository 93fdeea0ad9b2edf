"""What is decided about topics, without a cluster."""

from __future__ import annotations

from dataclasses import replace

from fairgate.streams.topics import Found, Names, Topic, catalogue, plan

WORK = catalogue("", 3)[0]
DAY_MS = 86_400_000


def as_it_should_be(topic: Topic) -> Found:
    return Found(topic.partitions, topic.replication, dict(topic.settings))


def drifted(topic: Topic, **settings: str) -> Found:
    changed = {name.replace("_", "."): value for name, value in settings.items()}
    return Found(topic.partitions, topic.replication, {**topic.settings, **changed})


def test_the_work_topics_are_exactly_as_required() -> None:
    for topic in catalogue("", 3)[:3]:
        assert (topic.partitions, topic.replication) == (6, 3)
        required = {
            "min.insync.replicas": "2",
            "retention.ms": "86400000",
            "retention.bytes": "1073741824",
            "cleanup.policy": "delete",
            "segment.bytes": "134217728",
            "segment.ms": "3600000",
        }
        assert required.items() <= topic.settings.items()


def test_every_work_topic_has_dead_letters_that_stay_fourteen_days() -> None:
    by_name = {topic.name: topic for topic in catalogue("", 3)}
    for name in Names().work:
        assert by_name[f"{name}.dlq"].settings["retention.ms"] == str(14 * DAY_MS)


def test_the_journal_keeps_seven_days_whatever_its_size() -> None:
    journal = next(topic for topic in catalogue("", 3) if topic.name == "queue-journal")
    assert (journal.settings["retention.ms"], journal.settings["retention.bytes"]) == (str(7 * DAY_MS), "-1")


def test_one_broker_gets_one_replica_and_two_are_never_asked_to_be_in_sync() -> None:
    for topic in catalogue("", 1):
        assert (topic.replication, topic.settings["min.insync.replicas"]) == (1, "1")


def test_a_prefix_is_on_every_topic() -> None:
    assert all(topic.name.startswith("blue-") for topic in catalogue("blue-", 3))


def test_what_is_as_it_should_be_is_left_alone() -> None:
    wanted = catalogue("", 3)
    decided = plan(wanted, {topic.name: as_it_should_be(topic) for topic in wanted}, development=False)
    assert decided.nothing_to_do
    assert not decided.leaves


def test_a_missing_topic_is_created() -> None:
    decided = plan([WORK], {}, development=False)
    assert [create.topic for create in decided.creates] == [WORK]


def test_a_compacted_topic_is_corrected() -> None:
    decided = plan([WORK], {WORK.name: drifted(WORK, cleanup_policy="compact")}, development=False)
    assert decided.corrects[0].changes == {"cleanup.policy": ("compact", "delete")}


def test_an_emergency_retention_is_raised_again() -> None:
    decided = plan([WORK], {WORK.name: drifted(WORK, retention_ms="3600000")}, development=False)
    assert decided.corrects[0].changes == {"retention.ms": ("3600000", "86400000")}


def test_a_longer_retention_is_not_shortened_unasked() -> None:
    for longer in ("604800000", "-1"):
        decided = plan([WORK], {WORK.name: drifted(WORK, retention_ms=longer)}, development=False)
        assert decided.nothing_to_do
        assert "shortening deletes records" in decided.leaves[0].reason


def test_a_longer_retention_is_shortened_when_asked() -> None:
    found = {WORK.name: drifted(WORK, retention_ms="-1")}
    decided = plan([WORK], found, development=False, shorten=True)
    assert decided.corrects[0].changes == {"retention.ms": ("-1", "86400000")}


def test_partitions_and_replication_are_never_touched() -> None:
    found = replace(as_it_should_be(WORK), partitions=12, replication=2)
    decided = plan([WORK], {WORK.name: found}, development=False)
    assert not decided.creates
    assert all("partitions" not in correct.changes for correct in decided.corrects)
    assert ["12 partitions" in leave.reason or "replication 2" in leave.reason for leave in decided.leaves] == [
        True,
        True,
    ]


def test_a_topic_with_one_replica_is_never_asked_for_two_in_sync() -> None:
    """That would refuse every record that is sent to it."""
    found = Found(6, 1, {**WORK.settings, "min.insync.replicas": "1"})
    assert plan([WORK], {WORK.name: found}, development=False).nothing_to_do
