"""Numbers that a database tells while something is measured, over one connection of their own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any


class Numbers:
    """`connect` opens the connection, with the first question and whenever it was lost."""

    def __init__(self, connect: Callable[[], Awaitable[Any]]) -> None:
        self._connect = connect
        self._sql: Any = None

    async def value(self, query: str, *values: object) -> int:
        """The first column of the first row; 0 where there is none."""
        if self._sql is None or self._sql.is_closed():
            self._sql = await self._connect()
        return int(await self._sql.fetchval(query, *values) or 0)

    async def close(self) -> None:
        if self._sql is not None:
            await self._sql.close()
