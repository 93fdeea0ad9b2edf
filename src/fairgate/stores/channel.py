"""The channel that carries the line's scripts: one pipelined connection to Valkey, which knows whose server it is.

The protocol of the *fence*. A restarted, wiped or older server must be noticed before it can answer wrongly. Every line
script is told `<generation>:<run id>` and refuses when the line's state does not hold exactly that. The run id is read
whenever a channel connects, and only the owner of the line's lease writes the state's fence. So after any restart the
scripts refuse (503, `Retry-After`) until the owner has looked at the server and begun a new generation.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from functools import cached_property, partial
from hashlib import sha1
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import hiredis
import redis.asyncio
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from fairgate.errors import FairgateError, StaleEpoch, StaleGeneration, Unavailable, ValkeyFull
from fairgate.stores.valkey import ANSWER_S

Word: TypeAlias = str | int | bytes
# Takes the answer, or the exception in its place.
Then: TypeAlias = Callable[[Any], None]

_SCRIPTS = Path(__file__).parent / "scripts"
_REFUSALS: dict[str, type[FairgateError]] = {"FGSTALE": StaleGeneration, "FGEPOCH": StaleEpoch}


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

    def call(self, keys: Sequence[str], args: Sequence[Word]) -> Sequence[Word]:
        """The words of the command that runs it."""
        return ("EVALSHA", self.sha, len(keys), *keys, *args)


class Channel:
    """One pipelined connection: calls are sent at the end of the loop's turn, all that were made in it together, and
    answered in order; nothing is ever sent twice by itself.

    `run_id` is that of the server the channel is connected to. A call that was sent and not answered raises
    `Unavailable`: its effect is unknown, and all our scripts may be repeated.

    The client library opens the connection (address, TLS, password); from there on its bytes are ours, since with a
    thousand lines each join is a call of its own, and the library's reading costs more than the join.
    """

    def __init__(self, url: str) -> None:
        self._pool = redis.asyncio.ConnectionPool.from_url(
            url, socket_timeout=None, socket_connect_timeout=ANSWER_S, retry=Retry(NoBackoff(), 0)
        )
        self._connection: AbstractConnection | None = None
        self._transport: Any = None
        self._waiting: deque[_Call] = deque()
        self._unsent: list[bytes] = []
        self._watch: asyncio.TimerHandle | None = None
        self._connecting = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self.run_id = ""

    @property
    def connected(self) -> bool:
        return self._transport is not None

    async def connect(self) -> None:
        """Connect where it is not. Raises `Unavailable`."""
        if self._transport is not None:
            return
        async with self._connecting:
            if self._transport is None:
                await self._open()

    async def _open(self) -> None:
        connection: AbstractConnection = self._pool.make_connection()  # type: ignore[no-untyped-call]
        try:
            async with asyncio.timeout(ANSWER_S):
                await connection.connect()  # type: ignore[no-untyped-call]
                self.run_id = await _primary_run_id(connection)
        except (RedisError, OSError, TimeoutError) as error:
            await _closed(connection)
            raise Unavailable(f"Valkey does not answer: {error}") from error
        transport = connection._writer.transport  # type: ignore[union-attr]
        transport.set_protocol(_Answers(self._hand_over, lambda error: self._gone(transport, error)))
        self._connection, self._transport = connection, transport

    async def close(self) -> None:
        self._drop(Unavailable("closed"))
        await asyncio.gather(*self._tasks)

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[Word]) -> Any:
        """The script's answer (bytes and integers). Raises `Unavailable`, `StaleGeneration`, `StaleEpoch`."""
        if self._transport is None:
            await self.connect()
        call = script.call(keys, args)
        return await self._answer(script, call, self.ask(*call))

    def begin(self, script: Script, keys: Sequence[str], args: Sequence[Word], then: Then) -> None:
        """`run` for who is called back, once, with the answer or the error: it costs no task. Raises `Unavailable`."""

        def answered(value: Any) -> None:
            if isinstance(value, _NoScript):
                self._start(self._again(script, keys, args, then))
            else:
                then(value)

        self._call(answered, script.call(keys, args))

    async def _again(self, script: Script, keys: Sequence[str], args: Sequence[Word], then: Then) -> None:
        try:
            answer = await self.run(script, keys, args)
        except Exception as error:
            answer = error
        then(answer)

    async def run_each(self, script: Script, calls: Sequence[tuple[Sequence[str], Sequence[Word]]]) -> list[Any]:
        """One script for many (keys, args), all sent together; connect first. → for each its answer, or the error that
        it raised.
        """
        asked = [(call, self.ask(*call)) for call in (script.call(keys, args) for keys, args in calls)]
        answers: list[Any] = []
        for call, future in asked:
            try:
                answers.append(await self._answer(script, call, future))
            except FairgateError as error:
                answers.append(error)
        return answers

    async def _answer(self, script: Script, call: Sequence[Word], asked: asyncio.Future[Any]) -> Any:
        try:
            return await asked
        except _NoScript:
            await self.command("SCRIPT", "LOAD", script.text)
            return await self.command(*call)

    async def command(self, *words: Word) -> Any:
        """Send in the order of the calls; the answer when it comes."""
        return await self.ask(*words)

    def ask(self, *words: Word) -> asyncio.Future[Any]:
        """`command` for who asks many things at once: a future costs a third of a task. Raises `Unavailable`."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._call(partial(_settle, future), words)
        return future

    def _call(self, then: Then, words: Sequence[Word]) -> None:
        if self._transport is None:
            raise Unavailable("Valkey is not connected")
        loop = asyncio.get_running_loop()
        self._waiting.append(_Call(then, loop.time() + ANSWER_S))
        if self._watch is None:
            self._watch = loop.call_later(ANSWER_S, self._look)
        if not self._unsent:
            loop.call_soon(self._send)
        self._unsent.append(hiredis.pack_command(words))  # type: ignore[arg-type]  # its stub knows one word only

    def _send(self) -> None:
        unsent, self._unsent = self._unsent, []
        if unsent and self._transport is not None:
            self._transport.write(b"".join(unsent))

    def _look(self) -> None:
        """The oldest call has waited too long, or is looked at again when it would have."""
        self._watch = None
        if not self._waiting:
            return
        loop = asyncio.get_running_loop()
        left_s = self._waiting[0].until - loop.time()
        if left_s <= 0:
            self._drop(Unavailable("Valkey does not answer in time"))
        else:
            self._watch = loop.call_later(left_s, self._look)

    def _hand_over(self, value: Any) -> None:
        """Each answer to the oldest call that waits."""
        self._waiting.popleft().then(_translated(value) if isinstance(value, Exception) else value)

    def _gone(self, transport: Any, error: Exception | None) -> None:
        """This connection is; another may have taken its place."""
        if self._transport is transport:
            self._drop(Unavailable(f"Valkey went away: {error or 'the connection was closed'}"))

    def _drop(self, why: Unavailable) -> None:
        connection, self._connection, self._transport = self._connection, None, None
        waiting, self._waiting, self._unsent = self._waiting, deque(), []
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        for call in waiting:
            call.then(why)
        if connection is not None:
            self._start(_closed(connection))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _Call(NamedTuple):
    """`then` is called once, and never raises. `until`: by the loop's clock."""

    then: Then
    until: float


def _settle(future: asyncio.Future[Any], value: Any) -> None:
    if future.done():
        return
    if isinstance(value, Exception):
        future.set_exception(value)
    else:
        future.set_result(value)


class _Answers(asyncio.Protocol):
    """What comes back on a connection, whole answers only."""

    def __init__(self, answered: Callable[[Any], None], gone: Callable[[Exception | None], None]) -> None:
        self._answered, self._gone = answered, gone
        self._reader = hiredis.Reader(notEnoughData=_MORE)

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        while (value := self._reader.gets()) is not _MORE:
            self._answered(value)

    def connection_lost(self, error: Exception | None) -> None:
        self._gone(error)


_MORE = object()


class _NoScript(Exception):
    """The server does not know the script yet, or no more."""


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


def refused(error: Exception) -> FairgateError:
    """What the server's error means, which may stand among the answers of one call."""
    code = str(error).split(" ", 1)[0]
    if code == "OOM":
        return ValkeyFull()
    return _REFUSALS[code]() if code in _REFUSALS else Unavailable(f"Valkey refused: {error}")


def _translated(error: Exception) -> Exception:
    return _NoScript() if str(error).startswith("NOSCRIPT ") else refused(error)
