"""What every test may ask for. Servers start once per run, and only when a test asks for them."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from fairgate.config import Config
from fairgate.stores.database import Database
from tests import servers as start
from tests.support.line import Fans, Gatekeeper, fans, gatekeeper

# The same examples everywhere, however slow the machine: what CI finds is found at home, and the other way round.
# `--hypothesis-profile=default` looks for new ones.
settings.register_profile("fairgate", derandomize=True, deadline=None)
settings.load_profile("fairgate")


# These keep both cores busy: one worker has all of them, and the other has what mostly waits.
BUSY = {"acceptance", "chaos"}


class TwoWorkers(LoadScopeScheduling):
    """A file stays with one worker; what is largest comes first."""

    def _split_scope(self, nodeid: str) -> str:
        file, _, _ = nodeid.partition("::")
        return "busy" if Path(file).parent.name in BUSY else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> TwoWorkers:
    return TwoWorkers(config, log)


@dataclass(frozen=True)
class Servers:
    """`config` reaches all three servers; the other fields are what tests ask for most."""

    config: Config

    @property
    def kafka_bootstrap(self) -> str:
        assert self.config.kafka_bootstrap is not None
        return self.config.kafka_bootstrap

    @property
    def valkey_url(self) -> str:
        assert self.config.valkey_url is not None
        return self.config.valkey_url

    @property
    def postgres_dsn(self) -> str:
        assert self.config.postgres_dsn is not None
        return self.config.postgres_dsn.get_secret_value()


@pytest.fixture(scope="session", autouse=True)
def _no_settings_from_outside() -> Iterator[None]:
    """The developer's own FAIRGATE_… must not decide what a test sees."""
    outside = {name: value for name, value in os.environ.items() if name.startswith("FAIRGATE_")}
    kept = {start.REUSE}
    for name in outside.keys() - kept:
        del os.environ[name]
    yield
    os.environ.update(outside)


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """Real Kafka (one broker), Valkey and PostgreSQL, shared by the run: use ids and topics of your own."""
    with start.shared_servers() as config:
        yield Servers(config)


@pytest.fixture
async def database(servers: Servers) -> AsyncIterator[Database]:
    """The run's database, which other tests have written to."""
    database = Database(servers.postgres_dsn)
    yield database
    await database.close()


@pytest.fixture
async def crowd(servers: Servers) -> AsyncIterator[Fans]:
    """Who joins, asks and leaves, on the run's servers."""
    async with fans(servers.postgres_dsn, servers.valkey_url) as crowd:
        yield crowd


@pytest.fixture
async def keeper(servers: Servers) -> AsyncIterator[Gatekeeper]:
    """One process of admission, on the run's servers."""
    async with gatekeeper(servers.postgres_dsn, servers.valkey_url) as keeper:
        yield keeper


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """An empty data directory for a stack of this test's own."""
    with start.short_data_dir() as directory:
        yield directory / "data"


@pytest.fixture
def event_id() -> str:
    """An event that no other test knows."""
    return f"event-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def user_id() -> str:
    """A user that no other test knows."""
    return f"user-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def topic_prefix() -> str:
    """Topics that no other test knows."""
    return f"t{uuid.uuid4().hex[:10]}-"
