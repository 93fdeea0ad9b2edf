"""The whole stack, as `fairgate up` starts it: all servers and all roles, once for all of these tests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from fairgate.config import Config
from fairgate.local.supervisor import ALL_ROLES, Stack
from tests.servers import running_stack, short_data_dir


@dataclass(frozen=True)
class Whole:
    """What a user needs to know: where it is, and the credentials."""

    stack: Stack

    @property
    def config(self) -> Config:
        return self.stack.config

    @property
    def api_url(self) -> str:
        return f"http://{self.config.host}:{self.config.ports.api}"

    @property
    def live_url(self) -> str:
        return f"http://{self.config.host}:{self.config.ports.live}"

    @property
    def service(self) -> dict[str, str]:
        assert self.config.service_token is not None
        return {"authorization": f"Bearer {self.config.service_token.get_secret_value()}"}

    @property
    def operator(self) -> dict[str, str]:
        assert self.config.operator_token is not None
        return {"authorization": f"Bearer {self.config.operator_token.get_secret_value()}"}


@pytest.fixture(scope="package")
def stack() -> Iterator[Whole]:
    # one address makes all the guests of the tests
    with (
        short_data_dir() as directory,
        running_stack(directory / "data", roles=ALL_ROLES, guest_rate_per_minute=1_000_000) as running,
    ):
        yield Whole(running)
