"""Who is connected where, and the way to tell that process. Hints only: the inbox in SQL is the delivery.

Each live process has an id, a heartbeat, a set of its users and a channel. The clock is Valkey's, so that two hosts
need not agree on the time. A process that died stops being asked after `ALIVE_S`, and its set expires.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from itertools import islice
from typing import Any

import redis.asyncio
from redis.exceptions import RedisError

from fairgate.errors import Unavailable
from fairgate.stores.keys import LIVE_PROCESSES, live_channel, live_users
from fairgate.stores.valkey import ANSWER_S

HEARTBEAT_S = 2.0
# Several heartbeats may be late on a busy machine before hints go elsewhere; who is missed is found by the sweep.
ALIVE_S = 15.0
USERS_EXPIRE_S = 60
# From so many users on it is worth asking first whether anybody is there.
CROWD = 100
# One command must not hold the server long, and one pub/sub message must stay far from its output buffer limit.
USERS_PER_COMMAND = 5_000


class Presence:
    """The shared table. Each call is one or two round trips; raises `Unavailable`."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client

    async def beat(self, process: str) -> int:
        """This process is alive. Returns how many users its set holds (after a wipe: fewer than it has)."""
        with _translated():
            now = await self._now()
            async with self._client.pipeline(transaction=False) as pipe:
                pipe.zadd(LIVE_PROCESSES, {process: now})
                pipe.zremrangebyscore(LIVE_PROCESSES, "-inf", now - USERS_EXPIRE_S)
                pipe.expire(live_users(process), USERS_EXPIRE_S)
                pipe.scard(live_users(process))
                return int((await pipe.execute())[3])

    async def change(self, process: str, came: Collection[str], went: Collection[str]) -> None:
        """These users have a socket at this process now, those have none any more."""
        with _translated():
            async with self._client.pipeline(transaction=False) as pipe:
                for some in _chunks(went):
                    pipe.srem(live_users(process), *some)
                for some in _chunks(came):
                    pipe.sadd(live_users(process), *some)
                pipe.expire(live_users(process), USERS_EXPIRE_S)
                await pipe.execute()

    async def leave(self, process: str) -> None:
        """This process is going away and has told its clients."""
        with _translated():
            async with self._client.pipeline(transaction=False) as pipe:
                pipe.zrem(LIVE_PROCESSES, process)
                pipe.delete(live_users(process))
                await pipe.execute()

    async def where(self, users: Sequence[str]) -> dict[str, list[str]]:
        """Live process → which of these users are there, in their order. Nobody connected: nothing."""
        with _translated():
            processes = await self._alive()
            if len(users) >= CROWD:
                processes = await self._with_somebody(processes)
            if not processes or not users:
                return {}
            async with self._client.pipeline(transaction=False) as pipe:
                for process in processes:
                    pipe.smismember(live_users(process), list(users))
                answers = await pipe.execute()
        found = {
            process: [user for user, here in zip(users, answer, strict=True) if here]
            for process, answer in zip(processes, answers, strict=True)
        }
        return {process: there for process, there in found.items() if there}

    async def tell(self, messages: Sequence[tuple[str, bytes]]) -> int:
        """(process, message) each to that process's channel, together. Returns how many had a listener."""
        with _translated():
            async with self._client.pipeline(transaction=False) as pipe:
                for process, message in messages:
                    pipe.publish(live_channel(process), message)
                return sum(1 for listeners in await pipe.execute() if listeners)

    @contextlib.asynccontextmanager
    async def listening(self, process: str) -> AsyncIterator[Ear]:
        """Subscribed before the block runs."""
        pubsub = self._client.pubsub()
        try:
            with _translated():
                await pubsub.subscribe(live_channel(process))
                await pubsub.get_message(timeout=ANSWER_S)
            yield Ear(pubsub)
        finally:
            with contextlib.suppress(RedisError, OSError, TimeoutError):
                await pubsub.aclose()  # type: ignore[no-untyped-call]

    async def _alive(self) -> list[str]:
        async with self._client.pipeline(transaction=False) as pipe:
            pipe.time()
            pipe.zrange(LIVE_PROCESSES, 0, -1, withscores=True)
            (seconds, micros), beats = await pipe.execute()
        oldest = seconds + micros / 1e6 - ALIVE_S
        return [process for process, beat in beats if beat >= oldest]

    async def _with_somebody(self, processes: Sequence[str]) -> list[str]:
        async with self._client.pipeline(transaction=False) as pipe:
            for process in processes:
                pipe.scard(live_users(process))
            counts = await pipe.execute()
        return [process for process, count in zip(processes, counts, strict=True) if count]

    async def _now(self) -> float:
        seconds, micros = await self._client.time()
        return float(seconds + micros / 1e6)


class Ear:
    """A subscription."""

    def __init__(self, pubsub: Any) -> None:
        self._pubsub = pubsub

    async def hear(self, within_s: float) -> str | None:
        """The next message, or None when the time is up. Raises `Unavailable`."""
        with _translated():
            message = await self._pubsub.get_message(timeout=within_s)
        return str(message["data"]) if message is not None and message["type"] == "message" else None


def _chunks(users: Collection[str]) -> Iterator[list[str]]:
    rest = iter(users)
    while some := list(islice(rest, USERS_PER_COMMAND)):
        yield some


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (TimeoutError, RedisError, OSError) as error:
        raise Unavailable(f"Valkey: {error}") from error
