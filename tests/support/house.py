"""All of Fairgate in this process, on the shared servers, with a database, topics and ports of its own.

So that a test can replace one part, start and stop single roles, and leave nothing to the next one. `Crowd` is made of
the demo's fans: real clients over HTTP and Socket.IO.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit

import asyncpg
import structlog
from pydantic import SecretStr

from fairgate.checker import books
from fairgate.checker.run import Run
from fairgate.checker.verdict import Verdict, judge
from fairgate.config import Config
from fairgate.crowd.fan import Fan
from fairgate.crowd.http import Http
from fairgate.crowd.listener import Listener
from fairgate.crowd.site import Site, sockets
from fairgate.crowd.traits import Traits
from fairgate.lifecycle import Service, stop_in_order
from fairgate.links import Links
from fairgate.local.ports import free_base
from fairgate.outbox.sweep import Sweep
from fairgate.stores.migrate import migrate
from fairgate.streams import topics
from fairgate.wiring import ROLES

S = TypeVar("S", bound=Service)
# Whatever a slow machine needs; nothing here waits for as long on a quiet one.
PATIENCE_S = 180.0
LOOK_S = 0.05


class House:
    """Started without its sweepers: what is lost must be seen before they would mend it, half a minute later."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._running: dict[str, tuple[Links, list[Service]]] = {}

    async def start(self, *roles: str) -> None:
        for role in roles:
            links = Links(self.config, role)
            services = [one for one in ROLES[role](links, dict) if not isinstance(one, Sweep)]
            self._running[role] = links, services
            for service in reversed(services):
                await service.start()

    async def stop(self, role: str) -> None:
        links, services = self._running.pop(role)
        await stop_in_order(services)
        await links.close()

    def service(self, role: str, kind: type[S]) -> S:
        return next(one for one in self._running[role][1] if isinstance(one, kind))

    async def stop_all(self) -> None:
        for role in list(self._running):
            await self.stop(role)

    async def until_it_dies(self, role: str, how: str) -> int:
        """This role in a process of its own that is broken on purpose (`broken.py`). Returns its exit status."""
        command = [sys.executable, "-m", "tests.support.broken", role, how]
        process = await asyncio.create_subprocess_exec(*command, env={**os.environ, **self._settings()})
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    def _settings(self) -> dict[str, str]:
        config = self.config
        assert config.postgres_dsn and config.session_key and config.valkey_url and config.kafka_bootstrap
        return {
            "FAIRGATE_POSTGRES_DSN": config.postgres_dsn.get_secret_value(),
            "FAIRGATE_SESSION_KEY": config.session_key.get_secret_value(),
            "FAIRGATE_VALKEY_URL": config.valkey_url,
            "FAIRGATE_KAFKA_BOOTSTRAP": config.kafka_bootstrap,
            "FAIRGATE_TOPIC_PREFIX": config.topic_prefix,
            "FAIRGATE_PORT_BASE": str(config.port_base),
            "FAIRGATE_INSTANCE": str(config.instance),
            "FAIRGATE_DATA_DIR": str(config.data_dir / "nothing"),
        }

    @asynccontextmanager
    async def sql(self) -> AsyncIterator[Any]:
        connection = await books.connect(self.config)
        try:
            yield connection
        finally:
            await connection.close()


@asynccontextmanager
async def own_database(dsn: str) -> AsyncIterator[str]:
    """The DSN of a database with tables in place, which nobody else knows and which is gone afterwards."""
    name = f"house_{uuid.uuid4().hex[:10]}"
    await _execute(dsn, f'create database "{name}"')
    try:
        own = urlsplit(dsn)._replace(path=f"/{name}").geturl()
        await asyncio.to_thread(migrate, own)
        yield own
    finally:
        await _execute(dsn, f'drop database "{name}" with (force)')


@asynccontextmanager
async def house(config: Config) -> AsyncIterator[House]:
    """Ready to start roles; everything of it is stopped afterwards."""
    assert config.postgres_dsn is not None
    async with own_database(config.postgres_dsn.get_secret_value()) as own, _house(config, own) as made:
        yield made


@asynccontextmanager
async def _house(config: Config, own: str) -> AsyncIterator[House]:
    name = urlsplit(own).path[1:]
    changes = {
        "postgres_dsn": SecretStr(own),
        "topic_prefix": f"{name}-",
        "port_base": free_base(),
        "instance": name,
        "guest_rate_per_minute": 1_000_000,
    }
    made = House(_changed(config, changes))
    await asyncio.to_thread(lambda: topics.apply(topics.admin(made.config), made.config.topic_prefix))
    try:
        with _few_words():
            yield made
            await made.stop_all()
    finally:
        await made.stop_all()


@contextmanager
def _few_words() -> Iterator[None]:
    """Six roles share this loop: a traceback that is drawn with all its variables would stop them for seconds."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    try:
        yield
    finally:
        structlog.configure(**before)


def _changed(config: Config, changes: dict[str, Any]) -> Config:
    copy = config.model_copy(update=changes)
    vars(copy).pop("ports", None)  # derived from the port base, and cached
    return copy


async def _execute(dsn: str, statement: str) -> None:
    sql = await asyncpg.connect(dsn)
    try:
        await sql.execute(statement)
    finally:
        await sql.close()


class Crowd:
    """Fans in one event. A line of them forms while the event is paused; then it is opened."""

    def __init__(self, house: House, site: Site, sockets: Any, event_id: str) -> None:
        self._house, self._site, self._sockets, self.event_id = house, site, sockets, event_id
        self.fans: list[Fan] = []
        self._living: list[asyncio.Task[None]] = []

    async def open_event(self, **settings: Any) -> None:
        """Paused: who comes waits."""
        line = {"eventId": self.event_id, "state": "paused", "rate": 1_000, "burst": 100, **settings}
        await self._site.post("/admin/events", line, self._operator)
        await self._site.get(f"/queue/{self.event_id}")

    async def admit(self) -> None:
        await self._site.post(f"/admin/events/{self.event_id}/open", None, self._operator)

    async def come(self, traits: Iterable[Traits], **auth: str) -> list[Fan]:
        """Returns when all of them are in line, and those who listen are connected. `auth`: what else a client says."""
        fans = [Fan(one, self._site, self.event_id, self._connect(auth)) for one in traits]
        self.fans += fans
        self._living += [asyncio.create_task(fan.live()) for fan in fans]
        await until(lambda: all(fan.history.joined and _connected(fan) for fan in fans))
        return fans

    async def until_done(self, *but: Fan) -> None:
        """All but these have their end and were told."""
        await until(lambda: all(fan.history.done for fan in self.fans if fan not in but))

    async def verdict(self) -> Verdict:
        """Everybody goes home; then the books are read."""
        for task in self._living:
            task.cancel()
        await asyncio.gather(*self._living, return_exceptions=True)
        found = await books.read(self._house.config, [self.event_id])
        return judge(Run(histories=[fan.history for fan in self.fans], books=found))

    def _connect(self, auth: dict[str, str]) -> Callable[..., Listener]:
        config = self._house.config
        url = f"http://{config.host}:{config.ports.live}"

        def connect(token: str, hear: Callable[[dict[str, Any]], None]) -> Listener:
            listener = Listener(url, token, self.event_id, self._sockets, hear)
            listener._auth |= auth
            return listener

        return connect

    @property
    def _operator(self) -> str:
        assert self._house.config.operator_token is not None
        return self._house.config.operator_token.get_secret_value()


@asynccontextmanager
async def crowd(house: House, **settings: Any) -> AsyncIterator[Crowd]:
    """In an event of its own; `settings` are those of the event."""
    async with Http(f"http://{house.config.host}:{house.config.ports.api}", 64) as http, sockets() as live:
        site = Site(http)
        made = Crowd(house, site, live, f"event-{uuid.uuid4().hex[:10]}")
        await made.open_event(**settings)
        try:
            yield made
        finally:
            for task in made._living:
                task.cancel()
            await asyncio.gather(*made._living, return_exceptions=True)


def _connected(fan: Fan) -> bool:
    return not fan.history.listens or fan.connection == "socket connected"


async def until(what: Callable[[], bool]) -> None:
    """Others' work is waited for by looking. Raises `TimeoutError`."""
    async with asyncio.timeout(PATIENCE_S):
        while not what():  # noqa: ASYNC110 - nobody calls
            await asyncio.sleep(LOOK_S)
