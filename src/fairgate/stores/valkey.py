"""Valkey: an ordinary client for sessions and presence, and a `Channel` that carries the line's scripts.

The protocol of the *fence*. A restarted, wiped or older server must be noticed before it can answer wrongly. Every line
script is told `<generation>:<run id>` and refuses when the line's state does not hold exactly that. The run id is read
whenever a channel connects, and only the owner of the line's lease writes the state's fence. So after any restart the
scripts refuse (503, `Retry-After`) until the owner has looked at the server and begun a new generation.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterator, Sequence
from functools import cached_property
from hashlib import sha1
from pathlib import Path
from typing import Any

import redis.asyncio
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.exceptions import NoScriptError, OutOfMemoryError, RedisError, ResponseError

from fairgate.errors import FairgateError, ServerUnreachable, StaleEpoch, StaleGeneration, Unavailable, ValkeyFull

# A server on the same network that has not answered by then will not.
ANSWER_S = 5.0

_SCRIPTS = Path(__file__).parent / "scripts"
_REFUSALS: dict[str, type[FairgateError]] = {"FGSTALE": StaleGeneration, "FGEPOCH": StaleEpoch}


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


class Script:
    """One atomic step: `scripts/<name>.lua`, whose head names each key and argument."""

    def __init__(self, name: str) -> None:
        self.name = name

    @cached_property
    def text(self) -> str:
        return (_SCRIPTS / f"{self.name}.lua").read_text(encoding="utf-8")

    @cached_property
    def sha(self) -> str:
        return sha1(self.text.encode(), usedforsecurity=False).hexdigest()


class Channel:
    """One pipelined connection: calls are sent at once and answered in order; nothing is ever sent twice by itself.

    `run_id` is that of the server the channel is connected to. A call that was sent and not answered raises
    `Unavailable`: its effect is unknown, and all our scripts may be repeated.
    """

    def __init__(self, url: str) -> None:
        self._pool = redis.asyncio.ConnectionPool.from_url(
            url, socket_timeout=None, socket_connect_timeout=ANSWER_S, retry=Retry(NoBackoff(), 0)
        )
        self._connection: AbstractConnection | None = None
        self._reader: asyncio.Task[None] | None = None
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self._connecting = asyncio.Lock()
        self.run_id = ""

    @property
    def connected(self) -> bool:
        return self._connection is not None

    async def connect(self) -> None:
        """Connect where it is not. Raises `Unavailable`."""
        async with self._connecting:
            if self._connection is not None:
                return
            connection: AbstractConnection = self._pool.make_connection()  # type: ignore[no-untyped-call]
            try:
                async with asyncio.timeout(ANSWER_S):
                    await connection.connect()  # type: ignore[no-untyped-call]
                    self.run_id = await _primary_run_id(connection)
            except (RedisError, OSError, TimeoutError) as error:
                await _closed(connection)
                raise Unavailable(f"Valkey does not answer: {error}") from error
            self._connection = connection
            self._reader = asyncio.create_task(self._read(connection), name="valkey-channel")

    async def close(self) -> None:
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
        await self._drop(Unavailable("closed"))

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[str | int | bytes]) -> Any:
        """The script's answer (bytes and integers). Raises `Unavailable`, `StaleGeneration`, `StaleEpoch`."""
        await self.connect()
        try:
            return await self.command("EVALSHA", script.sha, len(keys), *keys, *args)
        except NoScriptError:
            await self.command("SCRIPT", "LOAD", script.text)
            return await self.command("EVALSHA", script.sha, len(keys), *keys, *args)

    async def command(self, *words: str | int | bytes) -> Any:
        """Send now, in the order of the calls; the answer when it comes."""
        connection = self._connection
        if connection is None:
            raise Unavailable("Valkey is not connected")
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append(answer)
        try:
            connection._writer.writelines(connection.pack_command(*words))  # type: ignore[union-attr]
            async with asyncio.timeout(ANSWER_S):
                return await answer
        except TimeoutError as error:
            await self._drop(Unavailable("Valkey does not answer in time"))
            raise Unavailable("Valkey does not answer in time") from error
        except ResponseError as error:
            raise _translated(error) from error
        except (RedisError, OSError) as error:
            raise Unavailable(f"Valkey: {error}") from error

    async def _read(self, connection: AbstractConnection) -> None:
        """Hand each answer to the oldest call that waits."""
        try:
            while True:
                try:
                    value = await connection.read_response(disconnect_on_error=False)
                except ResponseError as refusal:
                    value = refusal
                self._hand_over(value)
        except (RedisError, OSError) as error:
            await self._drop(Unavailable(f"Valkey went away: {error}"))

    def _hand_over(self, value: Any) -> None:
        answer = self._waiting.popleft()
        if answer.done():
            return
        if isinstance(value, Exception):
            answer.set_exception(value)
        else:
            answer.set_result(value)

    async def _drop(self, why: Exception) -> None:
        connection, self._connection = self._connection, None
        waiting, self._waiting = self._waiting, deque()
        for answer in waiting:
            if not answer.done():
                answer.set_exception(why)
        if connection is not None:
            if self._reader is not None and self._reader is not asyncio.current_task():
                self._reader.cancel()
            await _closed(connection)


async def _closed(connection: AbstractConnection) -> None:
    with contextlib.suppress(RedisError, OSError, TimeoutError):
        await connection.disconnect(nowait=True)


async def _primary_run_id(connection: AbstractConnection) -> str:
    """Reads go to the primary only: a replica may be behind."""
    await connection.send_command("INFO", "server")
    server = _info(await connection.read_response())
    await connection.send_command("INFO", "replication")
    if _info(await connection.read_response()).get("role") != "master":
        raise RedisError("this server is a replica; Fairgate talks to the primary only")
    return server["run_id"]


def _info(raw: Any) -> dict[str, str]:
    text = raw.decode() if isinstance(raw, bytes) else str(raw)
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)


def _translated(error: ResponseError) -> Exception:
    if isinstance(error, NoScriptError):
        return error
    if isinstance(error, OutOfMemoryError):
        return ValkeyFull()
    code = str(error).split(" ", 1)[0]
    return _REFUSALS[code]() if code in _REFUSALS else Unavailable(f"Valkey refused: {error}")


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """The client's errors in our words."""
    try:
        yield
    except (RedisError, OSError, TimeoutError) as error:
        if isinstance(error, OutOfMemoryError):
            raise ValkeyFull from error
        raise Unavailable(f"Valkey: {error}") from error


async def check(url: str) -> None:
    """Raises `ServerUnreachable` with what is wrong."""
    channel = Channel(url)
    try:
        await channel.connect()
    except Unavailable as error:
        raise ServerUnreachable(error.detail, "check FAIRGATE_VALKEY_URL: address, password, TLS") from error
    finally:
        await channel.close()
