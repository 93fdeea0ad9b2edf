"""Valkey: the ordinary client, for all but the line's scripts (`channel.py`), and its errors in our words."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import OutOfMemoryError, RedisError

from fairgate.errors import Unavailable, ValkeyFull

# A server on the same network that has not answered by then will not.
ANSWER_S = 5.0


def client(url: str) -> redis.asyncio.Redis:
    """A pooled client for everything but the line's scripts. Answers are text."""
    return redis.asyncio.Redis.from_url(
        url,
        decode_responses=True,
        socket_timeout=ANSWER_S,
        socket_connect_timeout=ANSWER_S,
        retry=Retry(ExponentialBackoff(cap=0.5, base=0.02), retries=2),
        health_check_interval=15,
    )


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """The client's errors in our words."""
    try:
        yield
    except (RedisError, OSError, TimeoutError) as error:
        if isinstance(error, OutOfMemoryError):
            raise ValkeyFull from error
        raise Unavailable(f"Valkey: {error}") from error
