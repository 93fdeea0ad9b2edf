"""The side that runs already: any implementation of the same API, driven from outside (`--against URL`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from fairgate.bench import cpu
from fairgate.bench.options import Remote
from fairgate.bench.sides import UNBOUNDED
from fairgate.bench.target import Address, FairgateTarget, PlainTarget, Target
from fairgate.errors import ConfigError

ANSWER_S = 10.0


class RemoteSide:
    """Nothing of it is started, stopped or looked into. `find` it first."""

    keeps_inbox = False

    def __init__(self, against: Remote, target: Target) -> None:
        self._against, self.target = against, target
        self.name = target.name

    @classmethod
    async def find(cls, against: Remote) -> RemoteSide:
        """Whether it makes sessions decides how it is asked. Raises `ConfigError` where nobody answers."""
        api = address_of(against.url)
        live = address_of(against.live_url) if against.live_url else api
        name = f"{api.host}:{api.port}"
        status, _ = await _posted(f"{_origin(against.url)}/users/sessions", {}, None)
        if status == 429:
            raise ConfigError(f"{name} makes no more guests for us", "give it FAIRGATE_GUEST_RATE_PER_MINUTE=1000000")
        if status == 201:
            return cls(against, FairgateTarget(name, api, live))
        return cls(against, PlainTarget(name, api, live))

    async def on(self, roles: Sequence[str] | None = None) -> None:
        pass

    async def off(self) -> None:
        pass

    async def open_line(self, event_id: str, *, paused: bool) -> str:
        """An operator's token opens a new one. Without, it is the one that was named, or one that opens by itself."""
        token = self._against.operator_token
        if self._against.event_id is not None or token is None:
            return self._against.event_id or event_id
        line = {
            "eventId": event_id,
            "rate": UNBOUNDED,
            "burst": UNBOUNDED,
            "state": "paused" if paused else "open",
        }
        status, body = await _posted(f"{_origin(self._against.url)}/admin/events", line, token)
        if status != 201:
            raise ConfigError(f"{self.name} opens no line: {status} {body[:200]}")
        return event_id

    async def admit(self, event_id: str) -> None:
        raise NotImplementedError("a drain is measured where the servers can be looked into")

    async def tickets(self, event_id: str, of: int) -> int | None:
        raise NotImplementedError

    async def told(self, event_id: str, of: int) -> int:
        raise NotImplementedError

    def pids(self) -> dict[str, int]:
        return {}

    def usage(self) -> dict[str, cpu.Usage]:
        return {}

    def pin_api(self, core: int | None) -> bool:
        return False

    async def close(self) -> None:
        pass


def address_of(url: str) -> Address:
    """Host and port of a plain HTTP URL. Raises `ConfigError`. Pure."""
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        raise ConfigError(f"{url} is no address of the form http://host:port", "end TLS in front of the driver")
    return Address(parts.hostname, parts.port or 80)


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


async def _posted(url: str, body: dict[str, Any], token: str | None) -> tuple[int, str]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_S)) as http,
            http.post(url, json=body, headers=headers) as answer,
        ):
            return answer.status, await answer.text()
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise ConfigError(f"{url} does not answer: {error}") from error
