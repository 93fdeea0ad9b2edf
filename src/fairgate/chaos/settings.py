"""How a site is laid out: servers, ports, links and disks. Pure."""

from __future__ import annotations

from pathlib import Path

import msgspec

from fairgate.chaos.disks import Disk
from fairgate.config import Config, Ports
from fairgate.local.kafka_settings import numbers
from fairgate.local.layout import Layout

# More than one of everything that may be taken away; a live process has a port of its own.
ROLES = {"api": 1, "admission": 2, "relay": 2, "ticketing": 3, "notification": 2, "live": 1}
# One address makes all sessions here, at the speed of a whole town.
GUESTS_PER_MINUTE = 1_000_000
# Offsets from the base, where nothing else of a stack listens.
VALKEY_FRONT, POSTGRES_FRONT, VALKEY_REPLICA, REPLICATION, KAFKA_FRONT, PEER_FRONT = 22, 23, 24, 25, 43, 46
REPLICATION_LINK = "valkey-replica"


class SiteSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`controllers`: KRaft controllers apart from the brokers. `proxied`: a proxy before each broker's client and
    inter-broker listener, and before PostgreSQL. `disk_bytes`: each broker's log directory on a file system of that
    size. `replica`: a Valkey that follows, and an address that can be led to it. `config`: settings that differ, and
    `quick_config` in the short version, whose waiting times are shorter.
    """

    brokers: int = 3
    controllers: int = 0
    proxied: bool = False
    disk_bytes: int | None = None
    replica: bool = False
    roles: dict[str, int] = msgspec.field(default_factory=lambda: dict(ROLES))
    quick: bool = False
    config: dict[str, object] = msgspec.field(default_factory=dict)
    quick_config: dict[str, object] = msgspec.field(default_factory=dict)


# What most scenarios want: one site serves them, one after the other. A stalled poll loop is noticed within a minute.
PROXIED = SiteSettings(
    proxied=True,
    replica=True,
    config={"max_poll_interval_s": 60},
    quick_config={"max_poll_interval_s": 20, "group_session_s": 15},
)

# Controllers apart, and small disks for the topics: the quorum's own disks are others. A crowd needs some 50 MiB.
APART = SiteSettings(controllers=3, disk_bytes=512 << 20)


def config_of(settings: SiteSettings, data_dir: Path, port_base: int) -> Config:
    quick = settings.quick_config if settings.quick else {}
    given = {"guest_rate_per_minute": GUESTS_PER_MINUTE, **settings.config, **quick}
    return Config(data_dir=data_dir, port_base=port_base, brokers=settings.brokers, **given)  # type: ignore[arg-type]


def links_of(settings: SiteSettings, ports: Ports, base: int) -> dict[str, tuple[int, int]]:
    """Link → (the port that clients are told, the server's own)."""
    links: dict[str, tuple[int, int]] = {}
    if settings.proxied:
        links["postgres"] = (base + POSTGRES_FRONT, ports.postgres)
        for number in numbers(settings.brokers):
            links[f"kafka-{number}"] = (base + KAFKA_FRONT + number, ports.kafka(number))
            links[f"kafka-{number}-peer"] = (base + PEER_FRONT + number, ports.peer(number))
    if settings.replica:
        links["valkey"] = (base + VALKEY_FRONT, ports.valkey)
        links[REPLICATION_LINK] = (base + REPLICATION, ports.valkey)
    return links


def layout_of(settings: SiteSettings, links: dict[str, tuple[int, int]]) -> Layout:
    return Layout(settings.controllers, {name: front for name, (front, _) in links.items()})


def disks_of(settings: SiteSettings, data_dir: Path) -> dict[int, Disk]:
    """Broker → its disk, where small ones are asked for."""
    if settings.disk_bytes is None:
        return {}
    kafka = data_dir.resolve() / "kafka"
    return {
        number: Disk(kafka / f"broker-{number}" / "log", settings.disk_bytes) for number in numbers(settings.brokers)
    }
