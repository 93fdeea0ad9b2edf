"""What of a stack runs and answers now, asked from outside."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from fairgate.config import Config, Ports
from fairgate.local import external
from fairgate.local.roles import answers_ready, ops_port
from fairgate.local.state import State, born


class Part(msgspec.Struct, frozen=True):
    """One server or one instance of a role. `ready` is its own answer, not that a process exists."""

    name: str
    address: str
    ready: bool
    detail: str
    pid: int | None = None


class Report(msgspec.Struct, frozen=True):
    """`running`: a supervisor holds the data directory. `started`: it has brought everything up."""

    running: bool
    started: bool
    supervisor: int | None
    data_dir: str
    parts: list[Part]

    @property
    def ready(self) -> bool:
        return self.running and self.started and all(part.ready for part in self.parts)


def report(config: Config, state: State) -> Report:
    """Asks everything at once; blocks for the slowest, some 10 s where a named server does not answer."""
    left = state.read()
    pids = {
        name: entry["pid"] for name, entry in left.get("pids", {}).items() if born(entry["pid"]) == entry["created"]
    }
    roles = [name for name in left.get("pids", {}) if name.rsplit("-", 1)[0] in Ports.ROLES]
    asks = [*_servers(config, pids), *(_role(config, name, pids.get(name)) for name in roles)]
    with ThreadPoolExecutor(max(1, len(asks))) as pool:
        parts = list(pool.map(lambda ask: ask(), asks))
    return Report(state.held(), bool(left.get("ready")), state.holder(), str(state.data_dir), parts)


def _servers(config: Config, pids: dict[str, int]) -> list[Callable[[], Part]]:
    asks: list[Callable[[], Part]] = []
    if config.kafka_bootstrap is not None:
        bootstrap = config.kafka_bootstrap
        asks.append(lambda: _ask("kafka", bootstrap, external.check_kafka, config, pids.get("kafka-1")))
    if config.valkey_url is not None:
        valkey = external.without_password(config.valkey_url)
        asks.append(lambda: _ask("valkey", valkey, external.check_valkey, config, pids.get("valkey")))
    if config.postgres_dsn is not None:
        dsn = external.without_password(config.postgres_dsn.get_secret_value())
        asks.append(lambda: _ask("postgresql", dsn, external.check_postgres, config, pids.get("postgres")))
    return asks


def _ask(name: str, address: str, check: Callable[[Config], str], config: Config, pid: int | None) -> Part:
    try:
        return Part(name, address, True, check(config), pid)
    except Exception as error:
        return Part(name, address, False, str(error), pid)


def _role(config: Config, name: str, pid: int | None) -> Callable[[], Part]:
    role, index = name.rsplit("-", 1)
    port = ops_port(config, role, int(index))

    def ask() -> Part:
        ready = answers_ready(port)
        return Part(name, f"127.0.0.1:{port}", ready, "ready" if ready else "not ready", pid)

    return ask


def plain(found: Report) -> dict[str, Any]:
    """For `--json`."""
    content: dict[str, Any] = msgspec.to_builtins(found)
    return {**content, "ready": found.ready}
