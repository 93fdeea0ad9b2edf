"""What SQL says of the lines, kept in memory by each process: a book that is told of changes and asks as a net."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Any

import asyncpg

from fairgate.domain.line import Line, LineState
from fairgate.errors import Unavailable, UnknownLine
from fairgate.lifecycle import Service
from fairgate.stores.database import Connection, Database

CHANGED_CHANNEL = "fairgate_lines"

# After a quiet moment a notice waits for nothing; of a thousand that come together, each would be a read of its own in
# every process.
READ_EVERY_S = 0.05


def line_of(row: asyncpg.Record) -> Line:
    return Line(
        event_id=row["event_id"],
        version=row["version"],
        generation=row["generation"],
        shard=row["shard"],
        state=LineState(row["state"]),
        title=row["title"],
        rate=row["rate"],
        burst=row["burst"],
        capacity=row["capacity"],
        hold_s=row["hold_s"],
        opens_at=row["opens_at"],
        sold_out=row["sold_out_by"] is not None,
        created_at=row["created_at"],
        rebuild=row["rebuild"],
    )


class LineBook(Service):
    """Every line by event id. Woken by NOTIFY; `idle_s` bounds how old it can be when a notice was lost.

    Goes on with what it knows when SQL is away, so that joins go on too.
    """

    name = "line-book"
    idle_s = 1.0

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._database = database
        self._lines: dict[str, Line] = {}
        self._edge = 0
        self._rests_until = float("-inf")
        self._reading = asyncio.Lock()  # one after the other: an older answer must not come over a newer one
        self._listener: asyncpg.Connection[asyncpg.Record] | None = None
        self._watchers: list[Callable[[Line], None]] = []
        self._notice: list[Callable[[str], None]] = []

    def __iter__(self) -> Any:
        return iter(list(self._lines.values()))

    def known(self, event_ids: Iterable[str]) -> list[Line]:
        """Those of these that there are."""
        return [line for event_id in event_ids if (line := self._lines.get(event_id)) is not None]

    def get(self, event_id: str) -> Line:
        """Raises `UnknownLine`; `Unavailable` while nothing was read yet."""
        if not self._lines:
            raise Unavailable("the lines are being read")
        line = self._lines.get(event_id)
        if line is None:
            raise UnknownLine(f"there is no line {event_id}")
        return line

    def on_change(self, watcher: Callable[[Line], None]) -> None:
        """Called with each new or changed line."""
        self._watchers.append(watcher)

    def on_notice(self, watcher: Callable[[str], None]) -> None:
        """Called with the event id of each notice, also where only the stock of tickets changed."""
        self._notice.append(watcher)

    async def refresh(self) -> None:
        """Read what has changed, in whatever order it was committed."""
        async with self._reading:
            await self._read()

    async def _read(self) -> None:
        async with self._database.connection() as connection:
            rows = await self._database.queries.lines_since(connection, edge=str(self._edge))
        edge = int(rows[0]["edge"])
        self._edge = edge if edge >= self._edge else 0  # a server that was set back begins anew
        fresh = [line for line in map(line_of, (row for row in rows if row["event_id"])) if self._is_news(line)]
        for line in fresh:
            self._lines[line.event_id] = line
            for watcher in self._watchers:
                watcher(line)
        if fresh:
            self.signals["changed"].fire(len(fresh))

    def _is_news(self, line: Line) -> bool:
        """What was written at or behind the edge is read again while a transaction of that time is open."""
        known = self._lines.get(line.event_id)
        return known is None or known.version != line.version

    async def run_once(self) -> bool:
        await self._listen()
        await asyncio.sleep(max(0.0, self._rests_until - time.monotonic()))
        self._rests_until = time.monotonic() + READ_EVERY_S
        await self.refresh()
        self.signals["read"].fire()
        return False

    async def _listen(self) -> None:
        if self._listener is not None and not self._listener.is_closed():
            return
        self._listener = await self._database.dedicated()
        await self._listener.add_listener(CHANGED_CHANNEL, self._noticed)

    def _noticed(self, _connection: object, _pid: int, _channel: str, event_id: object) -> None:
        for watcher in self._notice:
            watcher(str(event_id))
        self.wake.set()

    async def teardown(self) -> None:
        if self._listener is not None:
            await asyncio.wait_for(self._listener.close(), 5.0)


async def read_line(database: Database, connection: Connection, event_id: str) -> Line:
    """Raises `UnknownLine`."""
    row = await database.queries.line(connection, event_id=event_id)
    if row is None:
        raise UnknownLine(f"there is no line {event_id}")
    return line_of(row)


async def next_generation(database: Database, line: Line, lease: str, epoch: int) -> int | None:
    """Begin the line's next generation in SQL. None where the lease or the line has moved on."""
    async with database.transaction() as connection:
        generation: int | None = await database.queries.next_generation(
            connection, event_id=line.event_id, generation=line.generation, lease=lease, epoch=epoch
        )
    return generation
