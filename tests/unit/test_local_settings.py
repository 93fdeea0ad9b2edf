"""What the local servers and roles are told, without starting any."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from pydantic import SecretStr

from fairgate.config import Config, Ports
from fairgate.errors import ConfigError
from fairgate.local.allocator import with_allocator
from fairgate.local.jars import KAFKA_LOCK, read_lock
from fairgate.local.kafka_settings import broker_settings, controller_settings
from fairgate.local.layout import Layout
from fairgate.local.roles import environment, ops_port
from fairgate.local.state import State
from fairgate.streams.settings import connection


def settings_of(brokers: int) -> dict[str, str]:
    return broker_settings(1, brokers, Ports(8080), Path("/data"))


def test_three_brokers_keep_offsets_and_transactions_three_times() -> None:
    settings = settings_of(3)
    assert settings["offsets.topic.replication.factor"] == "3"
    assert settings["transaction.state.log.replication.factor"] == "3"
    assert settings["transaction.state.log.min.isr"] == "2"
    assert settings["min.insync.replicas"] == "2"


def test_one_broker_never_waits_for_a_second_replica() -> None:
    settings = settings_of(1)
    replicas = {value for name, value in settings.items() if name.endswith((".replication.factor", "min.isr"))}
    assert replicas == {"1"}


@pytest.mark.skipif(sys.platform != "linux", reason="the package is for Linux only")
def test_the_allocator_stands_before_what_else_is_preloaded() -> None:
    assert with_allocator({"LD_PRELOAD": "/other.so", "A": "b"}).items() >= {("A", "b")}
    first, *others = with_allocator({"LD_PRELOAD": "/other.so"})["LD_PRELOAD"].split(":")
    assert Path(first).name == "libmimalloc.so" and Path(first).exists()
    assert others == ["/other.so"]
    assert with_allocator({})["LD_PRELOAD"] == first


def test_without_the_package_nothing_is_preloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fairgate.local.allocator.PACKAGE", "no-such-package")
    assert with_allocator({"A": "b"}) == {"A": "b"}


def test_brokers_listen_on_the_loopback_only() -> None:
    listeners = settings_of(3)["listeners"].split(",")
    assert all("://127.0.0.1:" in listener for listener in listeners)


def test_controllers_apart_are_the_only_voters() -> None:
    layout = Layout(controllers=3)
    broker = broker_settings(1, 3, Ports(8080), Path("/data"), layout)
    controller = controller_settings(1, 3, Ports(8080), Path("/data"), layout)
    assert (broker["process.roles"], controller["process.roles"]) == ("broker", "controller")
    assert broker["controller.quorum.voters"] == controller["controller.quorum.voters"]
    assert f"{controller['node.id']}@" in broker["controller.quorum.voters"]
    assert broker["node.id"] not in [voter.split("@")[0] for voter in broker["controller.quorum.voters"].split(",")]
    assert "CONTROLLER" not in broker["listeners"]


def test_what_stands_before_a_broker_is_told_and_never_listened_on() -> None:
    layout = Layout(fronts={"kafka-1": 9001, "kafka-1-peer": 9002})
    settings = broker_settings(1, 3, Ports(8080), Path("/data"), layout)
    told = dict(address.split("://") for address in settings["advertised.listeners"].split(","))
    assert (told["CLIENT"], told["PEER"]) == ("127.0.0.1:9001", "127.0.0.1:9002")
    assert told["OBSERVER"] in settings["listeners"]
    assert "900" not in settings["listeners"]
    assert settings["inter.broker.listener.name"] == "PEER"


def test_no_broker_shares_a_port_with_anything_else() -> None:
    ports = Ports(8080)
    numbers = [ports.api, ports.live, ports.valkey, ports.postgres]
    numbers += [port for broker in (1, 2, 3) for port in (ports.kafka(broker), ports.controller(broker))]
    config = Config(port_base=8080)
    numbers += [ops_port(config, role, index) for role in Ports.ROLES for index in range(4)]
    assert len(set(numbers)) == len(numbers)


def test_the_lock_names_kafka_with_a_sha256_and_no_address() -> None:
    lock = read_lock(KAFKA_LOCK)
    assert "org.apache.kafka:kafka_2.13:4.3.1" in lock
    assert all(len(digest) == 64 for digest in lock.values())
    assert "://" not in KAFKA_LOCK.read_text()


def test_a_role_hears_everything_that_was_decided(tmp_path: Path) -> None:
    config = Config(
        data_dir=tmp_path,
        postgres_dsn=SecretStr("postgresql://u:p@h/d"),
        allowed_origins=("https://shop.example",),
        outbox_age_hold_s=5.0,
    )
    told = environment(config, "relay-1", 9001)
    assert told["FAIRGATE_POSTGRES_DSN"] == "postgresql://u:p@h/d"
    assert told["FAIRGATE_INSTANCE"] == "relay-1"
    assert told["FAIRGATE_OPS_PORT"] == "9001"
    assert told["FAIRGATE_ALLOWED_ORIGINS"] == '["https://shop.example"]'
    assert told["FAIRGATE_OUTBOX_AGE_HOLD_S"] == "5.0"


def test_a_role_does_not_inherit_a_setting_that_the_stack_did_not_decide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Config(data_dir=tmp_path)
    monkeypatch.setenv("FAIRGATE_TOPIC_PREFIX", "other-")
    assert "FAIRGATE_TOPIC_PREFIX" not in environment(config, "api-0", 9001)


def test_credentials_are_made_once_and_are_for_the_owner_alone(tmp_path: Path) -> None:
    state = State(tmp_path)
    first = state.credentials()
    assert State(tmp_path).credentials() == first
    assert len(set(first.values())) == len(first)
    assert (tmp_path / "credentials.json").stat().st_mode & 0o077 == 0


def test_every_client_logs_in_when_kafka_wants_a_login(tmp_path: Path) -> None:
    config = Config(
        data_dir=tmp_path,
        kafka_bootstrap="b-1:9096",
        kafka_security="SASL_SSL",
        kafka_username="user",
        kafka_password=SecretStr("secret"),
    )
    assert connection(config)["sasl.mechanism"] == "SCRAM-SHA-512"
    assert connection(config)["sasl.password"] == "secret"


def test_a_login_without_a_password_is_a_clear_error(tmp_path: Path) -> None:
    config = Config(data_dir=tmp_path, kafka_bootstrap="b-1:9096", kafka_security="SASL_SSL")
    with pytest.raises(ConfigError, match="login") as caught:
        connection(config)
    assert "FAIRGATE_KAFKA_PASSWORD" in caught.value.hint
