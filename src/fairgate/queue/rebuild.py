"""What an operator asks of lines after a loss: rebuild them, and tell of it. Through SQL: the owner does it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from datetime import datetime

import asyncpg
import msgspec

from fairgate.errors import Conflict, Unavailable, UnknownLine
from fairgate.stores.database import Database

ASK_S = 0.2


class Rebuilt(msgspec.Struct, frozen=True, kw_only=True):
    """One recovery of a line. `present` before and `waiting` after it; `seconds` from the notice to the end."""

    event_id: str
    generation: int
    cause: str
    present: int
    by_journal: int
    by_token: int
    removed: int
    waiting: int
    seconds: float
    at: datetime


class Rebuilds:
    """Raises `UnknownLine`, `Conflict`, `Unavailable`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ask(self, events: Sequence[str] | None) -> dict[str, int]:
        """Ask the owners to rebuild these lines (None: all). → the generation that will end, by event."""
        async with self._database.transaction() as connection:
            if not await self._database.queries.lines_have_an_owner(connection):
                raise Unavailable("no admission role runs, and only that can rebuild a line (`fairgate status`)")
            asked = {}
            for event_id in events if events is not None else await self._all(connection):
                row = await self._database.queries.ask_for_rebuild(connection, event_id=event_id)
                if row is not None:
                    asked[event_id] = row["generation"]
                    await self._database.queries.tell_lines_changed(connection, event_id=event_id)
                elif events is not None:
                    await self._refuse(connection, event_id)
        return asked

    async def wait(self, asked: Mapping[str, int], within_s: float) -> list[Rebuilt]:
        """Until the lines are rebuilt. Raises `Unavailable` when the time is up; the owners go on trying."""
        missing, done, deadline = dict(asked), [], time.monotonic() + within_s
        while missing:
            async with self._database.connection() as connection:
                for event_id, generation in list(missing.items()):
                    row = await self._database.queries.recovery_of(connection, event_id=event_id, generation=generation)
                    if row is not None:
                        done.append(_rebuilt(row))
                        del missing[event_id]
            if missing and time.monotonic() > deadline:
                names = ", ".join(sorted(missing)[:5])
                raise Unavailable(f"not rebuilt within {within_s:.0f} s: {names}; see /readyz of the admission role")
            await asyncio.sleep(ASK_S if missing else 0)
        return done

    async def last(self, event_id: str | None) -> list[Rebuilt]:
        """The last recovery of this line, or of each."""
        async with self._database.connection() as connection:
            rows = await self._database.queries.last_recoveries(connection, event_id=event_id)
        return [_rebuilt(row) for row in rows]

    async def _all(self, connection: object) -> list[str]:
        rows = await self._database.queries.all_lines(connection)
        return [row["event_id"] for row in rows]

    async def _refuse(self, connection: object, event_id: str) -> None:
        if await self._database.queries.line(connection, event_id=event_id) is None:
            raise UnknownLine(f"there is no line {event_id}")
        raise Conflict(f"the line {event_id} was never prepared in Valkey: there is nothing to rebuild")


def _rebuilt(row: asyncpg.Record) -> Rebuilt:
    return Rebuilt(**{name: row[name] for name in Rebuilt.__struct_fields__})
