"""The embedded servers: they answer when they say so, keep what they confirmed, and never outlive who started them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import redis
from confluent_kafka import Consumer, Producer, TopicPartition
from pydantic import SecretStr

from fairgate.config import Config
from fairgate.errors import ConfigError, ServerUnreachable
from fairgate.local import external, probes
from fairgate.local.children import until
from fairgate.local.ports import free_base
from fairgate.local.supervisor import Stack
from tests.conftest import Servers
from tests.servers import running_stack

SUPERVISOR = """
import sys, time
from fairgate.config import Config
from fairgate.local.supervisor import Stack
stack = Stack(Config(data_dir=sys.argv[1], port_base=int(sys.argv[2])), roles={}, quick_start=True)
stack.start()
print("ready", flush=True)
time.sleep(300)
"""


def start_in_a_process(data_dir: Path, base: int) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, str(data_dir), str(base)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def family(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def write_to(config: Config) -> None:
    """Something that each server confirms."""
    assert config.valkey_url and config.postgres_dsn and config.kafka_bootstrap
    with redis.Redis.from_url(config.valkey_url) as client:
        client.set("kept", "yes")
    probes.query(config.postgres_dsn.get_secret_value(), "create table kept as select 'yes' as word")
    outcomes: list[object] = []
    producer = Producer({"bootstrap.servers": config.kafka_bootstrap, "acks": "all"})
    producer.produce("ticket-issue", b"yes", key=b"k", partition=0, on_delivery=lambda error, _: outcomes.append(error))
    assert producer.flush(20) == 0
    assert outcomes == [None]


def read_from(config: Config) -> tuple[object, object, object]:
    assert config.valkey_url and config.postgres_dsn and config.kafka_bootstrap
    with redis.Redis.from_url(config.valkey_url, decode_responses=True) as client:
        in_valkey = client.get("kept")
    in_postgres = probes.query(config.postgres_dsn.get_secret_value(), "select word from kept")
    consumer = Consumer({"bootstrap.servers": config.kafka_bootstrap, "group.id": "reader"})
    try:
        consumer.assign([TopicPartition("ticket-issue", 0, 0)])
        record = consumer.poll(20)
        return in_valkey, in_postgres, record and record.value()
    finally:
        consumer.close()


EVERYWHERE = ("yes", "yes", b"yes")


async def test_ready_means_that_each_server_answers(servers: Servers) -> None:
    view = await asyncio.to_thread(probes.kafka_view, {"bootstrap.servers": servers.kafka_bootstrap})
    assert view.brokers == 1
    assert {"ticket-issue", "ticket-issued", "notification", "queue-journal"} <= view.topics.keys()
    assert "valkey" in probes.valkey_version(servers.valkey_url)
    assert probes.postgres_version(servers.postgres_dsn).startswith("18")


@pytest.mark.skipif(sys.platform != "linux", reason="the loader of other systems is asked in other ways")
def test_valkey_has_an_allocator_that_is_made_for_it_and_rewrites_its_file_with_it(servers: Servers) -> None:
    """The rewrite is a fork: no lock of the allocator may be held in the child for ever."""
    with redis.Redis.from_url(servers.valkey_url) as client:
        maps = Path(f"/proc/{client.info('server')['process_id']}/maps")
        assert "libmimalloc" in maps.read_text()
        before = client.info("persistence")["aof_rewrites"]
        client.bgrewriteaof()
        until = time.monotonic() + 60
        while (state := client.info("persistence"))["aof_rewrites"] == before or state["aof_rewrite_in_progress"]:
            client.eval(_CHURN, 0)
            assert time.monotonic() < until, "the rewrite does not end"
        assert state["aof_last_bgrewrite_status"] == "ok"


# Strings of many sizes, made and dropped; the hash goes in the background.
_CHURN = """
for i = 1, 2000 do redis.call('HSET', 'churn', i, string.rep('x', i)) end
return redis.call('UNLINK', 'churn')
"""


def test_what_was_confirmed_survives_an_orderly_restart(data_dir: Path) -> None:
    with running_stack(data_dir) as stack:
        write_to(stack.config)
    with running_stack(data_dir) as stack:
        assert read_from(stack.config) == EVERYWHERE


def test_a_killed_stack_leaves_no_process_and_loses_nothing(data_dir: Path) -> None:
    base = free_base()
    process = start_in_a_process(data_dir, base)
    children = family(process.pid)
    assert len(children) >= 3
    write_to(Config(data_dir=data_dir))

    process.kill()
    process.wait(5)

    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive
    with Stack(Config(data_dir=data_dir), roles={}, quick_start=True) as stack:
        assert stack.config.port_base == base
        assert read_from(stack.config) == EVERYWHERE


def test_an_orderly_stop_leaves_no_process_and_no_addresses(data_dir: Path) -> None:
    with running_stack(data_dir) as stack:
        children = [psutil.Process(child.pid) for child in stack.children()]
        assert (data_dir / "stack.json").stat().st_mode & 0o077 == 0
    assert not psutil.wait_procs(children, timeout=1)[1]
    assert not (data_dir / "stack.json").exists()


def test_one_brokers_data_is_never_taken_for_three(data_dir: Path) -> None:
    (data_dir / "kafka").mkdir(parents=True)
    (data_dir / "kafka" / "cluster.json").write_text(json.dumps({"id": "x", "brokers": 1}))
    with (
        pytest.raises(ConfigError, match="cluster of 1 broker") as refused,
        running_stack(data_dir, brokers=3),
    ):
        pass
    assert "--brokers 1" in refused.value.hint


def test_a_start_that_fails_leaves_no_process(data_dir: Path) -> None:
    (data_dir / "valkey" / "appendonlydir").mkdir(parents=True)
    (data_dir / "valkey" / "appendonlydir" / "appendonly.aof.manifest").write_text("nonsense\n")
    before = set(family(os.getpid()))
    with pytest.raises(ConfigError, match="valkey ended while starting"), running_stack(data_dir):
        pass
    assert set(family(os.getpid())) <= before


def test_one_server_may_be_the_operators_own(servers: Servers, data_dir: Path) -> None:
    given = {"kafka_bootstrap": servers.kafka_bootstrap, "postgres_dsn": servers.config.postgres_dsn}
    with running_stack(data_dir, **given) as stack:
        assert [child.name for child in stack.children()] == ["valkey"]
        assert stack.config.kafka_bootstrap == servers.kafka_bootstrap


@pytest.mark.parametrize(
    ("check", "settings", "told"),
    [
        (external.check_kafka, {"kafka_bootstrap": "127.0.0.1:1"}, "does not answer"),
        (external.check_valkey, {"valkey_url": "redis://127.0.0.1:1/0"}, "does not answer"),
        (external.check_postgres, {"postgres_dsn": SecretStr("postgresql://u:p@127.0.0.1:1/d")}, "does not answer"),
    ],
)
def test_a_server_that_is_missing_is_named(
    check: object, settings: dict[str, object], told: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(external, "ANSWER_S", 2.0)
    with pytest.raises(ServerUnreachable, match=told) as error:
        check(Config(data_dir=tmp_path, **settings))  # type: ignore[operator, arg-type]
    assert "FAIRGATE_" in error.value.hint


def test_a_wrong_password_is_called_that_and_never_shown(servers: Servers, tmp_path: Path) -> None:
    wrong = servers.postgres_dsn.replace(
        SecretStr(servers.postgres_dsn).get_secret_value().split(":")[2].split("@")[0], "hush"
    )
    with pytest.raises(ServerUnreachable, match="refused the login") as error:
        external.check_postgres(Config(data_dir=tmp_path, postgres_dsn=SecretStr(wrong)))
    assert "hush" not in str(error.value)


def test_a_frozen_server_does_not_hold_up_the_stop(data_dir: Path) -> None:
    with running_stack(data_dir) as stack:
        for child in stack.children():
            child.signal(signal.SIGSTOP)
        began = time.monotonic()
        stack.stop()
        assert time.monotonic() - began < 20
        assert until(lambda: not any(child.running for child in stack.children()), 1)
