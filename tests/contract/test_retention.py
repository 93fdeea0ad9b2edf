"""The emergency cut of retention: one hour is kept, nothing unread goes, and the undo puts back what was there."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import ConfigResource, NewTopic  # type: ignore[attr-defined]

from fairgate.streams import retention
from fairgate.streams.retention import WouldDeleteUnread
from tests.conftest import Servers

HOUR_MS = 3_600_000


@pytest.fixture
def topic(servers: Servers, topic_prefix: str) -> Iterator[str]:
    """One partition, three records: two of two hours ago, one of now."""
    client = admin(servers)
    name = f"{topic_prefix}work"
    for made in client.create_topics([NewTopic(name, 1, 1, config={"retention.ms": "86400000"})]).values():
        made.result(30.0)
    now_ms = int(time.time() * 1000)
    producer = Producer({"bootstrap.servers": servers.kafka_bootstrap, "enable.idempotence": True})
    for age_ms in (2 * HOUR_MS, 2 * HOUR_MS, 0):
        producer.produce(name, b"record", timestamp=now_ms - age_ms)
    assert producer.flush(30.0) == 0
    yield name
    client.delete_topics([name])


def admin(servers: Servers) -> Any:
    from confluent_kafka.admin import AdminClient

    return AdminClient({"bootstrap.servers": servers.kafka_bootstrap})


def settings(servers: Servers, topic: str) -> dict[str, str]:
    client = admin(servers)  # its end would end the question
    (found,) = client.describe_configs([ConfigResource(ConfigResource.Type.TOPIC, topic)]).values()
    return {name: found.result(30.0)[name].value for name in retention.SETTINGS}


def test_a_cut_keeps_an_hour_and_its_undo_what_was_there(servers: Servers, topic: str) -> None:
    before = settings(servers, topic)
    done = retention.cut(admin(servers), topic, {"group": {0: 2}}, now_ms=int(time.time() * 1000))
    assert settings(servers, topic)["retention.ms"] == "3600000"
    retention.undo(admin(servers), done)
    assert settings(servers, topic) == before


def test_a_cut_that_would_delete_unread_records_is_refused_and_changes_nothing(servers: Servers, topic: str) -> None:
    before = settings(servers, topic)
    with pytest.raises(WouldDeleteUnread, match="slow-group"):
        retention.cut(admin(servers), topic, {"slow-group": {0: 1}}, now_ms=int(time.time() * 1000))
    assert settings(servers, topic) == before


def test_groups_that_have_read_everything_do_not_hold_a_cut(servers: Servers, topic: str) -> None:
    done = retention.cut(admin(servers), topic, {"group": {}}, now_ms=int(time.time() * 1000))
    assert done.before["retention.ms"] == "86400000"
