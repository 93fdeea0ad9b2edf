"""Admission into SQL, without a process around it."""

from __future__ import annotations

import uuid
from collections import Counter
from typing import Any

from fairgate.stores.database import Database, lines_of
from tests.support.ticketing import FIRST, Books

_ORDERS = """
select a.user_id as "userId", a.event_id as "eventId", a.sequence, a.number, epoch_millis(a.admitted_at) as timestamp
from outbox o cross join unnest(o.keys, o.first_numbers, o.counts) as r (event_id, first, count)
join admissions a on a.event_id = r.event_id and a.number >= r.first and a.number < r.first + r.count
where r.event_id = $1 order by o.id, a.number
"""


class Gate:
    """One event whose bucket holds 5 and gets one an hour, and the lease that lets us admit. Users are `u<number>`."""

    def __init__(self, database: Database, event_id: str) -> None:
        self._database, self.event_id, self._lease = database, event_id, f"lease-{uuid.uuid4().hex}"

    async def open(self, capacity: int | None = None) -> None:
        await Books(self._database).event(self.event_id, capacity)
        async with self._database.connection() as sql:
            await sql.execute("update lines set rate = 1.0 / 3600, burst = 5 where event_id = $1", self.event_id)
            await sql.execute("update inventory set tokens = 5 where event_id = $1", self.event_id)
            await sql.execute(
                "insert into leases (name, owner, epoch, until) values ($1, 'us', 1, 'infinity')", self._lease
            )

    async def admit(self, users: list[str]) -> Counter[str]:
        """Outcome → how many of these claims."""
        async with self._database.transaction() as sql:
            rows = await self._database.queries.admit(
                sql,
                leases=[self._lease],
                epochs=[1],
                events=[self.event_id] * len(users),
                users=users,
                sequences=[FIRST + int(user[1:]) for user in users],
            )
        return Counter(row["outcome"] for row in rows)

    async def admit_crowd(self, users: list[str]) -> int | None:
        """The number of the first, where all of them are admitted at once. Raises `StaleEpoch`."""
        async with self._database.transaction() as sql:
            first: int | None = await self._database.queries.admit_crowd(
                sql,
                lease=self._lease,
                epoch=1,
                event_id=self.event_id,
                users=lines_of(users),
                sequences=[FIRST + int(user[1:]) for user in users],
            )
        return first

    async def execute(self, sql: str, *values: object) -> None:
        async with self._database.connection() as connection:
            await connection.execute(sql, *values)

    async def lose_the_lease(self) -> None:
        await self.execute("update leases set epoch = epoch + 1 where name = $1", self._lease)

    async def orders(self) -> list[dict[str, Any]]:
        """What the outbox has for ticketing, in order."""
        async with self._database.connection() as sql:
            rows = await sql.fetch(_ORDERS, self.event_id)
        return [dict(row) for row in rows]

    async def reserved(self) -> tuple[int, int]:
        """Of the stock; and the next number."""
        async with self._database.connection() as sql:
            row = await sql.fetchrow("select reserved, next_number from inventory where event_id = $1", self.event_id)
        return row["reserved"], row["next_number"]

    async def changed(self, change: str) -> None:
        await self.execute(f"update inventory set {change} where event_id = $1", self.event_id)  # noqa: S608 - ours

    async def numbers(self) -> list[tuple[str, int]]:
        async with self._database.connection() as sql:
            rows: list[Any] = await sql.fetch(
                "select user_id, number from admissions where event_id = $1 order by number", self.event_id
            )
        return [(row["user_id"], row["number"]) for row in rows]
