"""The other side: the same pipeline in TypeScript (`bench/peer`), built once and run on Fairgate's own servers.

It has a database, a Valkey number and a topic prefix of its own, so that neither side sees the other's data.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from redis.asyncio import Redis

from fairgate.bench import cpu
from fairgate.bench.cores import pin, unpin
from fairgate.bench.rows import THEIRS
from fairgate.bench.sides import pids_of_servers
from fairgate.bench.sql import Numbers
from fairgate.bench.target import Address, PlainTarget, Target
from fairgate.errors import ConfigError
from fairgate.local.ports import LOOPBACK
from fairgate.local.supervisor import Stack

DATABASE = "peer"
VALKEY_NUMBER = 1
BUILD_S, READY_S, STOP_S = 600.0, 60.0, 12.0

# Fairgate's roles and the peer's processes that do the same.
PROCESSES: Mapping[str, Sequence[str]] = {
    "api": ["api"],
    "admission": ["admit"],
    "relay": ["admit"],
    "ticketing": ["ticket"],
    "notification": ["notify"],
    "live": ["api"],
}
# It keeps no counter, and counting its rows costs more than writing some: it is done after this share of the time that
# is left by the rate so far, at most so long after the last time.
COUNTED_AFTER, COUNTED_WITHIN_S = 0.2, 5.0
# More space for young objects: what the peer's own start does in its tuned mode.
NODE_FLAGS = ["--max-semi-space-size=64"]


def build(sources: Path, directory: Path) -> None:
    """Copies and compiles; needs node and npm. Raises `ConfigError` with the end of what the build said."""
    if not (sources / "package-lock.json").exists():
        raise ConfigError(f"{sources} does not hold the peer", "run from a checkout, or name it with --peer")
    if shutil.which("npm") is None:
        raise ConfigError("the peer needs node and npm", "install node 20 or newer")
    directory.mkdir(parents=True, exist_ok=True)
    for name in ("src", "package.json", "package-lock.json", "tsconfig.json"):
        source, to = sources / name, directory / name
        shutil.copytree(source, to, dirs_exist_ok=True) if source.is_dir() else shutil.copy(source, to)
    for command in (["npm", "ci", "--silent"], ["npm", "run", "-s", "build"]):
        done = subprocess.run(  # noqa: S603 - arguments are ours
            command, cwd=directory, capture_output=True, text=True, timeout=BUILD_S, check=False,
            env={**os.environ, "NODE_ENV": "development"},
        )  # fmt: skip
        if done.returncode != 0:
            raise ConfigError(f"{' '.join(command)} failed: {(done.stderr or done.stdout)[-1000:]}")


class PeerSide:
    """The peer's four processes, on a stack's servers."""

    name = THEIRS
    keeps_inbox = False

    def __init__(self, stack: Stack, directory: Path, port: int) -> None:
        config = stack.config
        assert config.postgres_dsn is not None and config.valkey_url is not None
        self._stack, self._directory = stack, directory
        self._admin_dsn = config.postgres_dsn.get_secret_value()
        self._dsn = in_database(self._admin_dsn, DATABASE)
        self._valkey_url = numbered(config.valkey_url, VALKEY_NUMBER)
        self._environment = {
            **os.environ,
            "PEER_MODE": "tuned",
            "NODE_ENV": "production",
            "TOPIC_PREFIX": "peer-",
            "KAFKA_BROKERS": str(config.kafka_bootstrap),
            "REDIS_URL": self._valkey_url,
            "DATABASE_URL": self._dsn,
            "PORT": str(port),
        }
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._numbers = Numbers(partial(asyncpg.connect, self._dsn))
        self._tickets, self._opened_at, self._count_at = 0, 0.0, 0.0
        self._valkey: Any = Redis.from_url(self._valkey_url)
        address = Address(LOOPBACK, port)
        self.target: Target = PlainTarget(self.name, address, address)

    async def on(self, roles: Sequence[str] | None = None) -> None:
        await self._create_database()
        wanted = dict.fromkeys(p for role in (roles or PROCESSES) for p in PROCESSES[role])
        for process in wanted:
            if process not in self._children:
                self._start(process)
        await self._until_ready(wanted)

    async def off(self) -> None:
        children, self._children = self._children, {}
        for child in children.values():
            child.send_signal(signal.SIGTERM)
        for child in children.values():
            try:
                await asyncio.to_thread(child.wait, STOP_S)
            except subprocess.TimeoutExpired:
                child.kill()
                await asyncio.to_thread(child.wait)

    async def open_line(self, event_id: str, *, paused: bool) -> str:
        """It opens a line at its first join; one switch pauses all, so what waits in former ones goes first."""
        await self._valkey.flushdb()
        await self._valkey.set("admission:paused", "1" if paused else "0")
        await asyncio.sleep(0.1)  # it looks every 50 ms
        return event_id

    async def admit(self, event_id: str) -> None:
        await self._valkey.set("admission:paused", "0")
        self._tickets, self._opened_at, self._count_at = 0, time.monotonic(), 0.0

    async def tickets(self, event_id: str, of: int) -> int | None:
        if time.monotonic() < self._count_at:
            return None
        self._tickets = await self._numbers.value("select count(*) from tickets where event_id = $1", event_id)
        now = time.monotonic()
        left_s = (of - self._tickets) * (now - self._opened_at) / max(1, self._tickets)
        self._count_at = now + min(COUNTED_AFTER * left_s, COUNTED_WITHIN_S)
        return self._tickets

    async def told(self, event_id: str, of: int) -> int:
        """As many as were just counted."""
        return self._tickets

    def pids(self) -> dict[str, int]:
        return {name: child.pid for name, child in self._children.items()}

    def usage(self) -> dict[str, cpu.Usage]:
        return cpu.usage(pids_of_servers(self._stack) | self.pids())

    def pin_api(self, core: int | None) -> bool:
        pid = self.pids()["api"]
        if core is None:
            unpin(pid)
            return False
        return pin(pid, core)

    async def close(self) -> None:
        await self.off()
        await self._valkey.aclose()
        await self._numbers.close()

    def _start(self, process: str) -> None:
        log = (self._directory / f"{process}.log").open("wb")
        command = ["node", *NODE_FLAGS, f"dist/{process}.js"]
        self._children[process] = subprocess.Popen(  # noqa: S603 - arguments are ours
            command, cwd=self._directory, env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )

    async def _until_ready(self, processes: Mapping[str, object]) -> None:
        """Each says its name when it is ready, and its consumers are in their groups by then."""
        deadline = time.monotonic() + READY_S
        for process in processes:
            while not await asyncio.to_thread(self._said_ready, process):
                if self._children[process].poll() is not None or time.monotonic() > deadline:
                    raise ConfigError(f"the peer's {process} did not get ready", f"see {self._directory}")
                await asyncio.sleep(0.1)

    def _said_ready(self, process: str) -> bool:
        log = (self._directory / f"{process}.log").read_text(errors="replace")
        return f"\n{process} tuned" in f"\n{log}"

    async def _create_database(self) -> None:
        sql = await asyncpg.connect(self._admin_dsn)
        try:
            await sql.execute(f"create database {DATABASE}")
        except asyncpg.DuplicateDatabaseError:
            pass
        finally:
            await sql.close()


def in_database(dsn: str, database: str) -> str:
    """The same server, another database. Pure."""
    return urlunsplit(urlsplit(dsn)._replace(path=f"/{database}"))


def numbered(url: str, number: int) -> str:
    """The same Valkey, another of its databases, whichever was named before. Pure."""
    return in_database(url, str(number))
