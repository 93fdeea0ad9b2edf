"""What the scenarios break with: each primitive really breaks what it names, and heals it again."""

from __future__ import annotations

import asyncio
import errno
import struct
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from fairgate.chaos.disks import CannotMount, Disk
from fairgate.chaos.network import Network
from fairgate.chaos.settings import SiteSettings
from fairgate.chaos.site import Site, open_site
from fairgate.local.ports import LOOPBACK, free_base
from fairgate.local.probes import kafka_view
from fairgate.stores.valkey import client
from tests.servers import short_data_dir

# For what must not come: a slow machine only makes it more certain that it has not.
NOTHING_S, SOON_S = 0.3, 30.0

# ---- the network


class Echo:
    """A server behind a link, and one connection through it."""

    def __init__(self, network: Network, base: int) -> None:
        self.network, self.front, self.target = network, base, base + 1
        self.heard = bytearray()
        self._hears = asyncio.Event()

    async def start(self) -> None:
        self.server = await asyncio.start_server(self._serve, LOOPBACK, self.target)
        await asyncio.to_thread(self.network.add, "echo", self.front, self.target)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1024):
            self.heard += data
            self._hears.set()
            writer.write(data)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(LOOPBACK, self.front)

    async def hears(self, wanted: bytes) -> None:
        async with asyncio.timeout(SOON_S):
            while wanted not in self.heard:
                self._hears.clear()
                await self._hears.wait()


@pytest.fixture
async def echo() -> AsyncIterator[Echo]:
    network = Network()
    echo = Echo(network, free_base(span=10))
    await echo.start()
    yield echo
    network.close()
    echo.server.close()


async def answer(reader: asyncio.StreamReader, length: int, within_s: float = SOON_S) -> bytes:
    async with asyncio.timeout(within_s):
        return await reader.readexactly(length)


async def test_what_is_sent_over_a_cut_link_arrives_after_it_is_whole_again(echo: Echo) -> None:
    reader, writer = await echo.connect()
    writer.write(b"before")
    assert await answer(reader, 6) == b"before"
    echo.network.cut("echo")
    writer.write(b"during")
    with pytest.raises(TimeoutError):
        await answer(reader, 6, NOTHING_S)
    assert bytes(echo.heard) == b"before"
    echo.network.heal()
    assert await answer(reader, 6) == b"during"
    writer.close()


async def test_a_one_way_cut_lets_the_question_through_and_keeps_the_answer(echo: Echo) -> None:
    reader, writer = await echo.connect()
    writer.write(b"first")
    assert await answer(reader, 5) == b"first"
    echo.network.cut("echo", "back")
    writer.write(b"question")
    await echo.hears(b"question")
    with pytest.raises(TimeoutError):
        await answer(reader, 8, NOTHING_S)
    echo.network.heal()
    assert await answer(reader, 8) == b"question"
    writer.close()


async def test_a_new_connection_over_a_cut_link_hangs_half_open(echo: Echo) -> None:
    echo.network.cut("echo")
    reader, writer = await echo.connect()
    writer.write(b"hello")
    with pytest.raises(TimeoutError):
        await answer(reader, 5, NOTHING_S)
    assert not echo.heard
    echo.network.heal()
    assert await answer(reader, 5) == b"hello"
    writer.close()


async def test_a_delayed_link_takes_at_least_that_long_in_each_direction(echo: Echo) -> None:
    reader, writer = await echo.connect()
    writer.write(b"x")
    await answer(reader, 1)
    echo.network.delay("echo", 0.1)
    began = time.monotonic()
    writer.write(b"slow")
    assert await answer(reader, 4) == b"slow"
    assert time.monotonic() - began >= 0.2
    writer.close()


async def test_a_link_can_be_cut_for_one_kafka_client_alone(echo: Echo) -> None:
    echo.network.cut("echo", source="broker-2-")
    requests = {name: kafka_request(name) for name in ("broker-2-fetcher-0", "broker-3-fetcher-0")}
    (cut_off, cut_writer), (other, writer) = await echo.connect(), await echo.connect()
    cut_writer.write(requests["broker-2-fetcher-0"])
    writer.write(requests["broker-3-fetcher-0"])
    assert await answer(other, len(requests["broker-3-fetcher-0"])) == requests["broker-3-fetcher-0"]
    with pytest.raises(TimeoutError):
        await answer(cut_off, 1, NOTHING_S)
    echo.network.heal()
    assert await answer(cut_off, len(requests["broker-2-fetcher-0"])) == requests["broker-2-fetcher-0"]
    writer.close()
    cut_writer.close()


def kafka_request(client_id: str) -> bytes:
    """The head of a request: key, version, correlation, client."""
    head = struct.pack(">hhih", 18, 3, 1, len(client_id)) + client_id.encode()
    return struct.pack(">i", len(head)) + head


# ---- disks


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    disk = Disk(tmp_path / "small", 4 << 20)
    try:
        disk.mount()
    except CannotMount as why:
        pytest.skip(f"needs root or a user namespace: {why}")
    yield disk
    disk.unmount()


def test_a_full_disk_refuses_the_next_byte_and_takes_it_once_emptied(disk: Disk) -> None:
    assert disk.fill() > 3 << 20
    with pytest.raises(OSError, match="No space left") as caught, (disk.place / "more").open("wb") as file:
        file.write(b"x" * 8192)
        file.flush()
    assert caught.value.errno == errno.ENOSPC
    disk.empty()
    (disk.place / "more").write_bytes(b"x" * 8192)


# ---- the servers


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """Servers only: three controllers and a broker behind a proxy, a Valkey with its replica, PostgreSQL."""
    with short_data_dir() as directory:
        site = open_site(
            SiteSettings(brokers=1, controllers=3, proxied=True, replica=True, roles={}), directory / "data"
        )
        yield site
        site.end()


async def test_another_controller_leads_after_the_leading_one_was_killed(site: Site) -> None:
    leader = site.cluster.quorum_leader()
    assert leader in (1, 2, 3)
    await site.kill(f"controller-{leader}")
    async with asyncio.timeout(SOON_S):
        while site.cluster.quorum_leader() in (leader, None):  # noqa: ASYNC110 - a file tells it, and calls nobody
            await asyncio.sleep(0.05)
    await site.start(f"controller-{leader}")
    assert await site.cluster.whole()


async def test_a_client_is_cut_off_from_a_broker_that_others_still_reach(site: Site) -> None:
    site.network.cut("kafka-1")
    with pytest.raises(Exception, match=r"(?i)timed out|_TRANSPORT"):
        await asyncio.to_thread(kafka_view, {"bootstrap.servers": site.config.kafka_bootstrap}, 1.0)
    assert await site.cluster.brokers() == {1}
    site.network.heal()
    view = await asyncio.to_thread(kafka_view, {"bootstrap.servers": site.config.kafka_bootstrap}, SOON_S)
    assert view.brokers == 1


async def test_clients_find_what_the_replica_had_after_it_was_promoted(site: Site) -> None:
    assert site.config.valkey_url is not None
    valkey = client(site.config.valkey_url)
    await valkey.set("seen", "1")
    assert await valkey.wait(1, int(SOON_S * 1000)) == 1
    site.databases.hold_replication()
    await valkey.set("unseen", "1")
    await site.kill("valkey")
    await site.databases.promote_replica()
    assert (await valkey.get("seen"), await valkey.get("unseen")) == ("1", None)
    await valkey.set("after", "1")
    await valkey.aclose()


async def test_postgresql_recovers_from_the_death_of_one_of_its_processes(site: Site) -> None:
    import asyncpg

    assert site.config.postgres_dsn is not None
    victim = await asyncpg.connect(site.config.postgres_dsn.get_secret_value())
    await site.databases.kill_backend()
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await victim.fetchval("select 1")
    await site.wait_ready("postgres")
    assert [row[0] for row in await site.databases.sql("select 1")] == [1]


async def test_healing_brings_back_whatever_is_broken(site: Site) -> None:
    await site.kill("kafka-1")
    site.freeze("controller-1")
    site.network.cut("postgres")
    await site.databases.limit_memory()
    await site.heal()
    assert all([await site.ready(child.name) for child in site.children()])
    assert await site.cluster.whole()
