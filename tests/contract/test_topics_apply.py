"""`topics apply` against a real cluster: a repeat does nothing, a drift is corrected, nothing else is touched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic

from fairgate.config import Config
from fairgate.errors import ServerUnreachable
from fairgate.local.children import until
from fairgate.streams import topics
from tests.conftest import Servers


@pytest.fixture
def admin(servers: Servers) -> AdminClient:
    return topics.admin(servers.config)  # type: ignore[no-any-return]


def set_on(admin: AdminClient, topic: str, name: str, value: str) -> None:
    entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
    change = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
    for outcome in admin.incremental_alter_configs([change]).values():
        outcome.result(20)
    assert until(lambda: setting(admin, topic, name) == value, 10)


def setting(admin: AdminClient, topic: str, name: str) -> str:
    return topics.look(admin, [topic])[1][topic].settings[name]


def test_a_repeat_finds_nothing_to_do(admin: AdminClient, topic_prefix: str) -> None:
    first = topics.apply(admin, topic_prefix)
    assert len(first.creates) == 7
    again = topics.apply(admin, topic_prefix)
    assert again.nothing_to_do
    assert not again.leaves


def test_one_broker_is_called_development(admin: AdminClient, topic_prefix: str) -> None:
    assert topics.survey(admin, topic_prefix).development


def test_a_drifted_setting_is_corrected(admin: AdminClient, topic_prefix: str) -> None:
    topics.apply(admin, topic_prefix)
    name = topics.Names(topic_prefix).ticket_issue
    set_on(admin, name, "retention.ms", "3600000")
    done = topics.apply(admin, topic_prefix)
    assert done.corrects == [topics.Correct(name, {"retention.ms": ("3600000", "86400000")})]
    assert setting(admin, name, "retention.ms") == "86400000"


def test_a_survey_changes_nothing(admin: AdminClient, topic_prefix: str) -> None:
    assert topics.survey(admin, topic_prefix).creates
    assert topics.survey(admin, topic_prefix).creates


def test_more_partitions_are_told_and_left(admin: AdminClient, topic_prefix: str) -> None:
    name = topics.Names(topic_prefix).ticket_issue
    for outcome in admin.create_topics([NewTopic(name, 12, 1)]).values():
        outcome.result(20)
    assert until(lambda: name in topics.look(admin, [name])[1], 10)
    done = topics.apply(admin, topic_prefix)
    assert [leave.name for leave in done.leaves if "12 partitions" in leave.reason] == [name]
    assert topics.look(admin, [name])[1][name].partitions == 12


def test_a_cluster_that_does_not_answer_is_a_clear_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    client = topics.admin(Config(data_dir=tmp_path, kafka_bootstrap="127.0.0.1:1"))
    with pytest.raises(ServerUnreachable, match="does not answer"):
        topics.look(client, ["ticket-issue"], within_s=1.0)


def fairgate(servers: Servers, prefix: str, tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "FAIRGATE_KAFKA_BOOTSTRAP": servers.kafka_bootstrap,
        "FAIRGATE_TOPIC_PREFIX": prefix,
        "FAIRGATE_DATA_DIR": str(tmp_path),
    }
    command = [sys.executable, "-m", "fairgate", "topics", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)


def test_the_command_shows_creates_and_lists(servers: Servers, topic_prefix: str, tmp_path: Path) -> None:
    dry = fairgate(servers, topic_prefix, tmp_path, "apply", "--dry-run")
    assert (dry.returncode, dry.stdout.count("would be created")) == (0, 7)
    done = fairgate(servers, topic_prefix, tmp_path, "apply")
    assert (done.returncode, "development" in done.stderr) == (0, True)
    listed = fairgate(servers, topic_prefix, tmp_path, "list", "--json")
    rows: list[dict[str, Any]] = json.loads(listed.stdout)
    assert {row["topic"] for row in rows} == {topic.name for topic in topics.catalogue(topic_prefix, 1)}
