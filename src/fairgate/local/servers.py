"""The three servers: those that nobody else provides are started here, the others are asked whether they answer."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr

from fairgate.config import Config
from fairgate.local import external
from fairgate.local.children import Child
from fairgate.local.kafka import Kafka
from fairgate.local.layout import Layout
from fairgate.local.ports import LOOPBACK
from fairgate.local.postgres import Postgres
from fairgate.local.state import State
from fairgate.local.valkey import Valkey

# With the roles' bound together below 20 s: the time that an operator, and most process managers, give.
KAFKA_STOP_S, VALKEY_STOP_S, POSTGRES_STOP_S = 6.5, 2.0, 3.0


@dataclass(frozen=True)
class Step:
    """Something that the operator may want to see. Without `seconds` it is a remark."""

    title: str
    address: str = ""
    seconds: float | None = None
    note: str = ""


Tell = Callable[[Step], None]


class Servers:
    """`start` and `stop` once each. An attribute is None where the operator named a server of their own."""

    def __init__(
        self, config: Config, state: State, password: str, *, quick_start: bool, layout: Layout | None = None
    ) -> None:
        ports, data, logs = config.ports, state.data_dir, state.logs
        layout = layout or Layout()
        self._config, self._layout = config, layout
        self.kafka: Kafka | None = None
        self.valkey: Valkey | None = None
        self.postgres: Postgres | None = None
        if config.kafka_bootstrap is None:
            self.kafka = Kafka(config.brokers, ports, data / "kafka", logs, quick_start=quick_start, layout=layout)
        if config.valkey_url is None:
            self.valkey = Valkey(ports.valkey, data / "valkey", logs, front=layout.fronts.get("valkey"))
        if config.postgres_dsn is None:
            front = layout.fronts.get("postgres")
            self.postgres = Postgres(ports.postgres, data / "postgres", logs, password, front=front)

    def addresses(self) -> dict[str, Any]:
        """Setting → address, of those that are ours."""
        ours: dict[str, Any] = {}
        if self.kafka is not None:
            ours["kafka_bootstrap"] = self.kafka.bootstrap
        if self.valkey is not None:
            ours["valkey_url"] = self.valkey.url
        if self.postgres is not None:
            ours["postgres_dsn"] = SecretStr(self.postgres.dsn)
        return ours

    def ports(self) -> dict[int, str]:
        """Port → what listens there, of those that are ours."""
        ports, wanted = self._config.ports, {}
        for broker in self.kafka.brokers if self.kafka else ():
            wanted[ports.kafka(broker.number)] = f"kafka {broker.number}"
            if f"kafka-{broker.number}" in self._layout.fronts:
                wanted[ports.observer(broker.number)] = f"kafka {broker.number} for who watches"
            if f"kafka-{broker.number}-peer" in self._layout.fronts:
                wanted[ports.peer(broker.number)] = f"kafka {broker.number} for its peers"
        for node in (self.kafka.controllers or self.kafka.brokers) if self.kafka else ():
            wanted[ports.controller(node.number)] = f"kafka controller {node.number}"
        if self.valkey is not None:
            wanted[self.valkey.port] = "valkey"
        if self.postgres is not None:
            wanted[self.postgres.port] = "postgresql"
        return wanted

    def children(self) -> list[Child]:
        nodes = [node.child for node in self.kafka.nodes] if self.kafka else []
        return [*nodes, *(server.child for server in (self.valkey, self.postgres) if server is not None)]

    def start(self, tell: Tell) -> None:
        """All at once: Kafka takes longest and needs nobody. Returns when each answers; raises `ConfigError`."""
        with ThreadPoolExecutor(3) as pool:
            starts = [
                pool.submit(start, tell) for start in (self._start_kafka, self._start_valkey, self._start_postgres)
            ]
            try:
                for running in starts:
                    running.result()
            except BaseException:
                for child in self.children():
                    child.kill()  # the others stop waiting for what will not come
                raise

    def _start_kafka(self, tell: Tell) -> None:
        began = time.monotonic()
        if self.kafka is None:
            return tell(_done(external.check_kafka(self._config), "yours", began))
        self.kafka.start(lambda text: tell(Step(text)))
        brokers = len(self.kafka.brokers)
        note = "development: replication 1" if brokers == 1 else f"{brokers} brokers"
        return tell(_done(f"kafka {self.kafka.version} KRaft", self.kafka.bootstrap, began, note))

    def _start_valkey(self, tell: Tell) -> None:
        began = time.monotonic()
        if self.valkey is None:
            return tell(_done(external.check_valkey(self._config), "yours", began))
        self.valkey.start()
        return tell(_done(self.valkey.version, f"{LOOPBACK}:{self.valkey.port}", began))

    def _start_postgres(self, tell: Tell) -> None:
        began = time.monotonic()
        if self.postgres is None:
            return tell(_done(external.check_postgres(self._config), "yours", began))
        self.postgres.start()
        return tell(_done(f"postgresql {self.postgres.version}", f"{LOOPBACK}:{self.postgres.port}", began))

    def stop(self) -> None:
        """Kafka first: it is the only one that may still be told something by a peer."""
        if self.kafka is not None:
            self.kafka.stop(KAFKA_STOP_S)
        if self.valkey is not None:
            self.valkey.stop(VALKEY_STOP_S)
        if self.postgres is not None:
            self.postgres.stop(POSTGRES_STOP_S)


def _done(title: str, address: str, began: float, note: str = "") -> Step:
    return Step(title, address, time.monotonic() - began, note)
