"""Ask a server whether it serves. "The port is open" is never an answer: a server that starts has an open port too.

Each probe raises what its driver raises, within its bound; `external.py` translates that for people.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

ANSWER_S = 2.0
T = TypeVar("T")


@dataclass(frozen=True)
class KafkaView:
    """What the cluster says of itself."""

    brokers: int
    controller: int
    topics: dict[str, int]  # name → partitions


def kafka_view(settings: dict[str, Any], within_s: float = ANSWER_S) -> KafkaView:
    """One metadata call. Lists only brokers that take part (a fenced one is not among them)."""
    from confluent_kafka.admin import AdminClient

    quiet = {"log_level": 0, "reconnect.backoff.ms": 50, "reconnect.backoff.max.ms": 200}
    answer = AdminClient({**quiet, **settings}).list_topics(timeout=within_s)
    topics = {name: len(topic.partitions) for name, topic in answer.topics.items()}
    return KafkaView(len(answer.brokers), answer.controller_id, topics)


def valkey_version(url: str, within_s: float = ANSWER_S) -> str:
    """PING, then who it is: `valkey 9.1.2` or `redis 7.4.0`."""
    import redis

    with redis.Redis.from_url(url, socket_timeout=within_s, socket_connect_timeout=within_s) as client:
        client.ping()
        info = client.info("server")
        return f"valkey {info['valkey_version']}" if "valkey_version" in info else f"redis {info['redis_version']}"


def postgres_version(dsn: str, within_s: float = ANSWER_S) -> str:
    """A query's answer, not a handshake."""
    return str(query(dsn, "show server_version", within_s)).split()[0]


def query(dsn: str, sql: str, within_s: float = ANSWER_S) -> Any:
    """The first value of the answer; blocks."""

    async def ask() -> Any:
        import asyncpg

        connection = await asyncpg.connect(dsn, timeout=within_s, command_timeout=within_s)
        try:
            return await connection.fetchval(sql)
        finally:
            await connection.close(timeout=within_s)

    return blocking(ask)


def blocking(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine from synchronous code, also when this thread has a running loop already."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run(work())).result()


def answers(probe: Callable[[], Any]) -> bool:
    """Whether a probe succeeds; what it raises while a server starts is expected."""
    try:
        probe()
    except Exception:
        return False
    return True
