"""PostgreSQL: what decides. A pool, the queries of `queries/*.sql` by name, and the driver's errors in our words."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import AsyncIterator, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import aiosql
import asyncpg

from fairgate.errors import Conflict, FairgateError, InvalidRequest, SoldOut, StaleEpoch, Unavailable, UnknownLine

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"

# Raised by our own SQL functions with this SQLSTATE.
_OURS: dict[str, type[FairgateError]] = {
    "FG001": StaleEpoch,
    "FG002": UnknownLine,
    "FG003": SoldOut,
    "FG004": Conflict,
    "FG005": InvalidRequest,
}

# No statement of ours is meant to take longer; a stuck one must not hold locks for ever.
STATEMENT_S = 20.0

# A crowd fills the tables within seconds, minutes before their statistics say so, and a connection keeps the plans that
# it made while they were empty. What is read by an index is read well at every size; who reads a whole table says so.
_BY_INDEX = "set enable_seqscan = off; set jit = off"


class Queries:
    """The queries of `queries/*.sql` by name. One that has many rows answers with their list."""

    def __init__(self) -> None:
        self._read = aiosql.from_path(Path(__file__).parent / "queries", "asyncpg", mandatory_parameters=False)

    def __getattr__(self, name: str) -> Any:
        query = getattr(self._read, name)
        if inspect.isasyncgenfunction(query):
            query = _listed(query)
        setattr(self, name, query)
        return query


def _listed(query: Any) -> Any:
    async def rows(*args: Any, **values: Any) -> list[asyncpg.Record]:
        return [row async for row in query(*args, **values)]

    return rows


def lines_of(texts: Sequence[str]) -> str:
    """Many texts as one argument, a line each: as an array each costs the client ten times as much, and SQL twice.

    Raises `asyncpg.DataError` where one has a line's end in it, as the client does for what it cannot send.
    """
    joined = "\n".join(texts)
    if joined.count("\n") >= max(1, len(texts)):
        raise asyncpg.DataError("there is a line's end in one of the texts")
    return joined


class Database:
    """`async with database.connection() as c: await database.queries.<name>(c, …)`."""

    def __init__(self, dsn: str, size: int = 8) -> None:
        self._dsn, self._size = dsn, size
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._opening = asyncio.Lock()

    @cached_property
    def queries(self) -> Queries:
        return Queries()

    async def open(self) -> None:
        """Raises `Unavailable`."""
        if self._pool is None:
            async with self._opening:
                self._pool = self._pool or await self._connected()

    async def _connected(self) -> asyncpg.Pool[asyncpg.Record]:
        with translated():
            return await asyncpg.create_pool(
                self._dsn,
                min_size=1,
                max_size=self._size,
                command_timeout=STATEMENT_S,
                timeout=5.0,
                init=_plan_by_index,
                reset=_nothing_to_reset,
            )

    async def close(self) -> None:
        if self._pool is not None:
            pool, self._pool = self._pool, None
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(pool.close(), 5.0)

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection outside a transaction. Raises `Unavailable` and what the SQL functions refuse with."""
        await self.open()
        assert self._pool is not None
        with translated():
            async with self._pool.acquire(timeout=5.0) as connection:
                yield connection

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        async with self.connection() as connection, connection.transaction():
            yield connection

    @contextlib.asynccontextmanager
    async def whole_tables(self) -> AsyncIterator[Connection]:
        """To read much of them as of one moment: in a transaction that writes nothing."""
        async with self.connection() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
            await connection.execute("set local enable_seqscan = on")
            yield connection

    async def dedicated(self, *, transaction_timeout_s: float | None = None) -> asyncpg.Connection[asyncpg.Record]:
        """A connection of one's own (to listen, or to keep statements in order). The caller closes it."""
        settings = {"application_name": "fairgate"}
        if transaction_timeout_s is not None:
            settings["transaction_timeout"] = str(int(transaction_timeout_s * 1000))
        with translated():
            made = await asyncpg.connect(self._dsn, timeout=5.0, command_timeout=STATEMENT_S, server_settings=settings)
            await _plan_by_index(made)
            return made


async def _plan_by_index(connection: Any) -> None:
    """By a statement: what stands between may not pass settings on with the login."""
    await connection.execute(_BY_INDEX)


async def _nothing_to_reset(_connection: object) -> None:
    """No statement of ours leaves anything behind in a session; an open transaction is rolled back all the same. Asking
    for a reset would cost another turn to the server behind each.
    """


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """The driver's errors in our words."""
    try:
        yield
    except asyncpg.PostgresError as error:
        ours = _OURS.get(error.sqlstate or "")
        if ours is not None:
            raise ours(error.message or "") from error
        if isinstance(error, asyncpg.DataError | asyncpg.IntegrityConstraintViolationError):
            raise
        raise Unavailable(f"PostgreSQL: {error}") from error
    except (OSError, TimeoutError, asyncpg.InterfaceError) as error:
        raise Unavailable(f"PostgreSQL does not answer: {error}") from error
