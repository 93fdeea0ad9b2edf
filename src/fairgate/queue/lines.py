"""What an operator does to lines (F5). SQL first; the owner of the line's lease carries it to Valkey."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import asyncpg

from fairgate.config import SHARDS
from fairgate.domain import ids
from fairgate.domain.line import Line, LineState
from fairgate.errors import Conflict, InvalidRequest
from fairgate.stores.database import Database
from fairgate.stores.lines import line_of, read_line

UNLIMITED, NO_HOLD = -1, 0


class Lines:
    """Create, list and change lines. Raises `InvalidRequest`, `UnknownLine`, `Conflict`, `Unavailable`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(
        self,
        event_id: str,
        *,
        title: str = "",
        rate: float = 50.0,
        burst: int | None = None,
        capacity: int | None = None,
        hold_s: int | None = None,
        state: LineState = LineState.SCHEDULED,
        opens_at: datetime | None = None,
    ) -> Line:
        """`rate` in admissions per second; `burst` defaults to one second of it; `capacity` None is unlimited."""
        ids.event_id(event_id)
        values = {
            "event_id": event_id,
            "shard": ids.shard_of(event_id, SHARDS),
            "state": state.value,
            "title": title,
            "rate": rate,
            "burst": burst if burst is not None else max(1, int(rate)),
            "capacity": capacity,
            "hold_s": hold_s,
            "opens_at": opens_at,
        }
        made = await self._write("insert_line", values)
        if made is None:
            raise Conflict(f"the line {event_id} exists already")
        return await self.get(event_id)

    async def change(self, event_id: str, **settings: Any) -> Line:
        """Any of title, rate, burst, capacity (`UNLIMITED`), hold_s (`NO_HOLD`), opens_at, state."""
        names = ("title", "rate", "burst", "capacity", "hold_s", "opens_at", "state", "sold_out_by")
        values = {"event_id": event_id, **{name: settings.get(name) for name in names}}
        assert set(settings) <= set(names), settings
        await self._write("change_line", values)
        return await self.get(event_id)

    async def open(self, event_id: str) -> Line:
        await self._not_closed(event_id)
        return await self.change(event_id, state=LineState.OPEN.value)

    async def pause(self, event_id: str) -> Line:
        await self._not_closed(event_id)
        return await self.change(event_id, state=LineState.PAUSED.value)

    async def close(self, event_id: str) -> Line:
        """Who waits is told `closed`; who was admitted keeps the right."""
        return await self.change(event_id, state=LineState.CLOSED.value)

    async def sell_out(self, event_id: str) -> Line:
        """Who waits is told `sold_out`, and nobody new is let in."""
        return await self.change(event_id, sold_out_by="operator")

    async def get(self, event_id: str) -> Line:
        async with self._database.connection() as connection:
            return await read_line(self._database, connection, event_id)

    async def list(self) -> list[Line]:
        async with self._database.connection() as connection:
            rows = await self._database.queries.all_lines(connection)
        return [line_of(row) for row in rows]

    async def _not_closed(self, event_id: str) -> None:
        if (await self.get(event_id)).state is LineState.CLOSED:
            raise Conflict("a closed line stays closed: who waited was told so; create a new event")

    async def _write(self, query: str, values: dict[str, Any]) -> Any:
        try:
            async with self._database.transaction() as connection:
                row = await getattr(self._database.queries, query)(connection, **values)
                await self._database.queries.tell_lines_changed(connection, event_id=values["event_id"])
                return row
        except asyncpg.CheckViolationError as error:
            if error.constraint_name == "inventory_check":
                raise Conflict("the capacity cannot be lower than the tickets already promised") from error
            raise InvalidRequest(_WHY.get(error.constraint_name or "", "a setting is out of its bounds")) from error
        except asyncpg.DataError as error:
            raise InvalidRequest("a setting is out of its bounds") from error


_WHY = {
    "inventory_capacity_check": "the capacity must be 0 or more",
    "lines_rate_check": "the rate must be above 0 and at most 1,000,000 admissions per second",
    "lines_burst_check": "the burst must be 1 to 1,000,000",
    "lines_hold_s_check": "the hold time must be 1 second to one year",
    "lines_title_check": "the title must have at most 200 characters",
}
