"""The whole stack as one object: the servers that nobody else provides, then Fairgate's own roles.

    with Stack(config, roles=ALL_ROLES) as stack:      # or roles={}: servers only
        stack.config                                    # the settings with the addresses that are in force
        stack.kill("ticketing")                         # comes back by itself, under the same name
        stack.kafka.broker(2).kill()                    # stays down until .start()

Starts in the order in which things are needed and stops in the opposite one, from the source. Every wait has a bound.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

from pydantic import SecretStr

from fairgate.config import Config
from fairgate.errors import ConfigError
from fairgate.local.children import Child, stop_together, until
from fairgate.local.kafka import Kafka
from fairgate.local.layout import Layout
from fairgate.local.ports import require_free
from fairgate.local.postgres import Postgres
from fairgate.local.roles import UPSTREAM_FIRST, Role, ops_port
from fairgate.local.servers import Servers, Step, Tell
from fairgate.local.state import State
from fairgate.local.valkey import Valkey
from fairgate.local.watch import Watch

ALL_ROLES: Mapping[str, int] = dict.fromkeys(UPSTREAM_FIRST, 1)
ROLE_READY_S = 60.0
# With the servers' bounds (11.5 s) together below 20 s.
ROLES_STOP_S, ROLE_STOP_S, ROLE_STOP_LEAST_S = 8.0, 3.0, 0.2


class Stack:
    """One thread starts and stops it; kill, pause and resume may come from any."""

    def __init__(
        self,
        config: Config,
        roles: Mapping[str, int] = ALL_ROLES,
        *,
        quick_start: bool = False,
        layout: Layout | None = None,
    ) -> None:
        """`roles`: how many of each. `quick_start` trades Kafka's later throughput for seconds: for tests.

        `layout`: for a rehearsal of faults.
        """
        assert set(roles) <= set(UPSTREAM_FIRST), f"no such role among {UPSTREAM_FIRST}: {roles}"
        self.config, self._counts, self._quick_start = config, dict(roles), quick_start
        self._layout = layout
        self.state = State(config.data_dir)
        self.servers: Servers | None = None
        self.roles: list[Role] = []
        self._tell: Tell = _silent
        self._watch: Watch | None = None

    def __enter__(self) -> Stack:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    @property
    def kafka(self) -> Kafka:
        assert self.servers is not None and self.servers.kafka is not None, "this Kafka is not ours"
        return self.servers.kafka

    @property
    def valkey(self) -> Valkey:
        assert self.servers is not None and self.servers.valkey is not None, "this Valkey is not ours"
        return self.servers.valkey

    @property
    def postgres(self) -> Postgres:
        assert self.servers is not None and self.servers.postgres is not None, "this PostgreSQL is not ours"
        return self.servers.postgres

    # ---- start

    def start(self, progress: Tell | None = None) -> None:
        """Returns when everything is ready. Raises `ConfigError` with what to do; then nothing is left running."""
        self._tell = progress or _silent
        self.state.acquire()
        try:
            servers = self._prepare()
            servers.start(self._tell)
            self._publish(servers, ready=False)
            self._fill()
            self._start_roles()
            self._publish(servers, ready=True)
            self._watch = Watch(self.children, self._restarted)
            self._watch.start()
        except BaseException:
            self.stop()
            raise

    def _prepare(self) -> Servers:
        """What a killed stack left goes, credentials are there, every port is free."""
        self.state.end_leftovers()
        config = self.state.without_leftovers(self.config)
        secrets = self.state.credentials()
        made = {
            name: SecretStr(secrets[name])
            for name in ("session_key", "service_token", "operator_token")
            if getattr(config, name) is None
        }
        config = config.model_copy(update={**made, "data_dir": self.state.data_dir})
        self.servers = Servers(
            config, self.state, secrets["postgres_password"], quick_start=self._quick_start, layout=self._layout
        )
        self.config = config.model_copy(update=self.servers.addresses())
        require_free(self.servers.ports() | self._role_ports())
        return self.servers

    def _role_ports(self) -> dict[int, str]:
        wanted = {
            ops_port(self.config, role, index): f"health of {role}-{index}"
            for role, count in self._counts.items()
            for index in range(count)
        }
        public = {"api": self.config.ports.api, "live": self.config.ports.live}
        return wanted | {port: role for role, port in public.items() if self._counts.get(role)}

    def _fill(self) -> None:
        """The tables and the topics."""
        began = time.monotonic()
        assert self.config.postgres_dsn is not None
        _migrate(self.config.postgres_dsn.get_secret_value())
        left = _apply_topics(self.config)
        self._tell(Step("tables and topics", "", time.monotonic() - began, left))

    def _start_roles(self) -> None:
        began = time.monotonic()
        for role in UPSTREAM_FIRST:
            self.roles += [
                Role(self.config, role, index, self.state.logs) for index in range(self._counts.get(role, 0))
            ]
        for instance in self.roles:
            instance.child.start()
        for instance in self.roles:
            self.wait_ready(instance)
        if self.roles:
            self._tell(Step(", ".join(r.child.name for r in self.roles), "", time.monotonic() - began))

    # ---- one role

    def role(self, role: str, index: int = 0) -> Role:
        return next(instance for instance in self.roles if (instance.role, instance.index) == (role, index))

    def wait_ready(self, instance: Role, within_s: float = ROLE_READY_S) -> None:
        """Until its `/readyz` says so. Raises `ConfigError` with the end of its log."""

        def ready() -> bool:
            if not instance.child.running and self._watch is None:
                raise ConfigError(f"{instance.child.name} ended while starting:\n{instance.child.tail()}")
            return instance.ready()

        if not until(ready, within_s, every_s=0.1):
            raise ConfigError(f"{instance.child.name} is not ready after {within_s:.0f} s:\n{instance.child.tail()}")

    def kill(self, role: str, index: int = 0, number: signal.Signals = signal.SIGKILL, *, restart: bool = True) -> None:
        """A crash on purpose. It comes back by itself under its name; with `restart=False` only by `restart`."""
        child = self.role(role, index).child
        child.wanted = restart
        child.signal(number)

    def pause(self, role: str, index: int = 0) -> None:
        """Freeze it: worse than dead, since nobody is told."""
        self.role(role, index).child.signal(signal.SIGSTOP)

    def resume(self, role: str, index: int = 0) -> None:
        self.role(role, index).child.signal(signal.SIGCONT)

    def restart(self, role: str, index: int = 0, within_s: float = ROLE_STOP_S) -> None:
        """Stop it in order if it runs, start it, and wait until it is ready."""
        instance = self.role(role, index)
        instance.child.stop(within_s)
        instance.child.start()
        self.wait_ready(instance)

    def _restarted(self, what: str) -> None:
        assert self.servers is not None
        self._publish(self.servers, ready=True)  # its pid is another now
        self._tell(Step(what))

    # ---- stop

    def stop(self) -> None:
        """From the source, within 20 s, then by force. Safe to repeat, and after a start that failed."""
        if self._watch is not None:
            self._watch.stop()
            self._watch = None
        deadline = time.monotonic() + ROLES_STOP_S
        for role in UPSTREAM_FIRST:
            group = [instance.child for instance in self.roles if instance.role == role]
            stop_together(group, min(ROLE_STOP_S, max(ROLE_STOP_LEAST_S, deadline - time.monotonic())))
        if self.servers is not None:
            self.servers.stop()
        self.state.release()

    # ---- seeing

    def children(self) -> list[Child]:
        """Every process of this stack."""
        servers = self.servers.children() if self.servers else []
        return [*servers, *(instance.child for instance in self.roles)]

    def _publish(self, servers: Servers, *, ready: bool) -> None:
        self.state.publish(self.config, servers.addresses(), self.children(), ready=ready)


def _silent(_: Step) -> None:
    pass


def _migrate(dsn: str) -> None:
    from fairgate.stores.migrate import migrate

    with ThreadPoolExecutor(1) as pool:  # it runs a loop of its own, and this thread may have one already
        pool.submit(migrate, dsn).result()


def _apply_topics(config: Config) -> str:
    """What was left as it is, for the operator to see."""
    from fairgate.streams import topics

    done = topics.apply(topics.admin(config), config.topic_prefix)
    return "; ".join(f"{leave.name}: {leave.reason}" for leave in done.leaves)
