"""Whether a part of the site is there again: its own answer, not that a process exists."""

from __future__ import annotations

import asyncio
import urllib.request

from fairgate.chaos.cluster import Cluster
from fairgate.errors import Unavailable
from fairgate.local.ports import LOOPBACK
from fairgate.local.probes import answers, postgres_version, valkey_version
from fairgate.local.roles import answers_ready
from fairgate.local.supervisor import Stack
from fairgate.local.valkey import Valkey


class Readiness:
    """Asked by name."""

    def __init__(self, stack: Stack, cluster: Cluster, replica: Valkey | None) -> None:
        self._stack, self._cluster, self._replica = stack, cluster, replica

    async def of(self, name: str) -> bool:
        """Of a process that runs."""
        kind, _, number = name.rpartition("-")
        if kind == "kafka":
            return await self._takes_part(int(number))
        if kind == "controller":
            return True  # the brokers that register tell the rest
        return await asyncio.to_thread(self._answers, name)

    async def _takes_part(self, broker: int) -> bool:
        try:
            return broker in await self._cluster.brokers()
        except Unavailable:
            return False

    def _answers(self, name: str) -> bool:
        if name == "postgres":
            return answers(lambda: postgres_version(self._stack.postgres.own_dsn))
        if name == "valkey":
            return answers(lambda: valkey_version(self._stack.valkey.own_url))
        if self._replica is not None and name == self._replica.child.name:
            url = self._replica.own_url
            return answers(lambda: valkey_version(url))
        instance = next(role for role in self._stack.roles if role.child.name == name)
        return answers_ready(instance.ops_port)


def metrics_of(stack: Stack, name: str) -> str:
    """What a role tells Prometheus. Raises `OSError`."""
    instance = next(role for role in stack.roles if role.child.name == name)
    with urllib.request.urlopen(f"http://{LOOPBACK}:{instance.ops_port}/metrics", timeout=2.0) as answer:
        text: str = answer.read().decode()
        return text
