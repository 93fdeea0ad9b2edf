"""The local stack as something that can be broken, part by part, and made whole again.

Processes have names: `api-0` … `live-0`, `kafka-1` …, `controller-1` …, `valkey`, `valkey-replica`, `postgres`. Each is
signalled by the pid that we started, never by its name in a process table.

    await site.kill("kafka-2")          # SIGKILL, stays down …
    await site.start("kafka-2")         # … until this returns with it ready
    site.crash("ticketing-0")           # SIGKILL; the supervisor starts it again
    site.freeze("relay-1"); site.thaw("relay-1")
    site.network.cut("kafka-2-peer")    # `proxied`: the links are named like the servers
    site.disks[1].fill()                # `disk_bytes`
    await site.heal()                   # whatever is broken
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from pydantic import SecretStr

from fairgate.chaos.cluster import Cluster
from fairgate.chaos.databases import Databases
from fairgate.chaos.network import Network
from fairgate.chaos.readiness import Readiness
from fairgate.chaos.settings import (
    REPLICATION_LINK,
    VALKEY_REPLICA,
    SiteSettings,
    config_of,
    disks_of,
    layout_of,
    links_of,
)
from fairgate.config import Config
from fairgate.errors import Unavailable
from fairgate.failpoints import ENVIRONMENT
from fairgate.local.children import Child
from fairgate.local.ports import PortTaken, free_base, require_free
from fairgate.local.servers import Step
from fairgate.local.supervisor import Stack
from fairgate.local.valkey import Valkey

START_S, STOP_S, HEAL_S = 90.0, 20.0, 180.0
LOOK_EVERY_S = 0.1


class Site:
    """`begin` and `end` once each. Where nothing is said, a method returns at once."""

    def __init__(self, settings: SiteSettings, data_dir: Path, port_base: int) -> None:
        """Use `open_site`."""
        config = config_of(settings, data_dir, port_base)
        self.settings, self.network = settings, Network()
        self._links = links_of(settings, config.ports, port_base)
        self.disks = disks_of(settings, data_dir)
        self.stack = Stack(config, settings.roles, quick_start=True, layout=layout_of(settings, self._links))
        self.replica: Valkey | None = None
        self.cluster: Cluster
        self.databases: Databases

    def begin(self, tell: Callable[[Step], None] | None = None) -> None:
        """Start everything; blocks until it is ready. Raises `ConfigError`, and `CannotMount` without the right."""
        try:
            for disk in self.disks.values():
                disk.mount()
            for name, (front, target) in self._links.items():
                require_free({front: f"link to {name}"})
                self.network.add(name, front, target)
            self.stack.start(tell)
            self._start_replica()
        except BaseException:
            self.end()
            raise
        self.cluster = Cluster(self.stack.kafka)
        self.databases = Databases(self.stack, self.replica, self.network)
        self._readiness = Readiness(self.stack, self.cluster, self.replica)

    def _start_replica(self) -> None:
        if self.settings.replica:
            data, (source, _) = self.stack.state.data_dir, self._links[REPLICATION_LINK]
            port = self.config.port_base + VALKEY_REPLICA
            directory, logs = data / "valkey" / "replica", self.stack.state.logs
            self.replica = Valkey(port, directory, logs, name="valkey-replica", replica_of=source)
            self.replica.start()

    @property
    def config(self) -> Config:
        """With the addresses that clients are told."""
        return self.stack.config

    @property
    def observer(self) -> Config:
        """With the servers' own addresses: who watches must not be cut off with who is watched."""
        stack = self.stack
        direct = {
            "kafka_bootstrap": stack.kafka.own_bootstrap,
            "valkey_url": self.databases.primary.own_url,
            "postgres_dsn": SecretStr(stack.postgres.own_dsn),
        }
        return self.config.model_copy(update=direct)

    def end(self) -> None:
        """Stop everything; safe to repeat. Blocks."""
        for child in self.children():
            child.signal(signal.SIGCONT)
        with contextlib.suppress(OSError):  # the proxies may be what broke
            self.network.heal()
        if self.replica is not None:
            self.replica.stop()
        self.stack.stop()
        self.network.close()
        for disk in self.disks.values():
            disk.unmount()

    # ---- names

    def children(self) -> list[Child]:
        return [*self.stack.children(), *([self.replica.child] if self.replica else [])]

    def child(self, name: str) -> Child:
        return next(child for child in self.children() if child.name == name)

    def names(self, role: str) -> list[str]:
        """`ticketing` → `ticketing-0` …; also `kafka`, `controller`."""
        return [child.name for child in self.children() if child.name.rpartition("-")[0] == role]

    # ---- break

    def crash(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """It dies; the supervisor starts it again."""
        self.child(name).signal(number)

    async def crash_at(self, name: str, failpoint: str, within_s: float = START_S) -> bool:
        """Restart it to end hard at this failpoint, once; the supervisor revives it. → whether it came there."""
        child = self.child(name)
        crashes = child.restarts
        await asyncio.to_thread(child.stop, STOP_S)
        self._start_once(child, {ENVIRONMENT: f"{failpoint}=exit@1"})
        deadline = time.monotonic() + within_s
        while child.restarts == crashes and time.monotonic() < deadline:  # noqa: ASYNC110 - another thread counts
            await asyncio.sleep(LOOK_EVERY_S)
        return child.restarts > crashes

    def terminate(self, name: str) -> None:
        """Asked politely to end; stays down until `start`."""
        self.child(name).ask_to_stop()

    async def kill(self, name: str) -> None:
        """SIGKILL; stays down until `start`. Returns when it is dead."""
        await asyncio.to_thread(self.child(name).kill)

    def freeze(self, name: str) -> None:
        """Worse than dead: nobody is told."""
        self.child(name).signal(signal.SIGSTOP)

    def thaw(self, name: str) -> None:
        self.child(name).signal(signal.SIGCONT)

    # ---- mend

    async def start(self, name: str, within_s: float = START_S) -> float:
        """Start what was killed or terminated; → the seconds until it was ready. Raises `Unavailable`."""
        began, child = time.monotonic(), self.child(name)
        await asyncio.to_thread(child.wait, within_s)
        child.start()
        await self.wait_ready(name, within_s)
        return time.monotonic() - began

    async def restart(self, name: str, env: Mapping[str, str] | None = None, within_s: float = START_S) -> float:
        """End it in order and start it; → seconds until it was ready. `env`, on top of its own, is for this start."""
        began, child = time.monotonic(), self.child(name)
        await asyncio.to_thread(child.stop, STOP_S)
        self._start_once(child, env or {})
        await self.wait_ready(name, within_s)
        return time.monotonic() - began

    @staticmethod
    def _start_once(child: Child, env: Mapping[str, str]) -> None:
        own = child.env
        child.env = {**(own or {}), **env}
        child.start()
        child.env = own

    async def wait_ready(self, name: str, within_s: float = START_S) -> None:
        """Raises `Unavailable` with the end of its log."""
        deadline = time.monotonic() + within_s
        while not await self.ready(name):
            if time.monotonic() > deadline:
                raise Unavailable(f"{name} was not ready after {within_s:.0f} s: {self.child(name).tail()[-500:]}")
            await asyncio.sleep(LOOK_EVERY_S)

    async def ready(self, name: str) -> bool:
        """Its own answer, not that a process exists."""
        return self.child(name).running and await self._readiness.of(name)

    async def heal(self, within_s: float = HEAL_S) -> float:
        """Everything runs, answers and can reach everything; → the seconds it took. Raises `Unavailable`."""
        began = time.monotonic()
        self.network.heal()
        for disk in self.disks.values():
            disk.empty()
        for child in self.children():
            child.signal(signal.SIGCONT)
            child.start()
        await self.databases.heal()
        for child in self.children():
            await self.wait_ready(child.name, max(1.0, began + within_s - time.monotonic()))
        return time.monotonic() - began

    # ---- look

    def log_of(self, name: str) -> Path:
        return self.child(name).log

    def count_in_log(self, name: str, text: str, after: int = 0) -> int:
        """How often its log says that, behind byte `after` (`log_size` then)."""
        return self.log_of(name).read_bytes()[after:].count(text.encode())

    def log_size(self, name: str) -> int:
        return self.log_of(name).stat().st_size


def open_site(
    settings: SiteSettings, data_dir: Path, tell: Callable[[Step], None] | None = None, port_base: int | None = None
) -> Site:
    """A site that runs; `end` it. Blocks. Free ports unless a base is given. Raises `ConfigError`, `CannotMount`."""
    for tries_left in (2, 1, 0):
        site = Site(settings, data_dir, port_base or free_base())
        try:
            site.begin(tell)
        except PortTaken:
            if port_base is not None or not tries_left:
                raise
        else:
            return site
    raise AssertionError("the last try raises")
