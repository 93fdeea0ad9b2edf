"""The rate is kept by SQL: its clock fills the bucket and stamps the admissions, whenever a statement arrives (I7)."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from fairgate.stores.database import Database
from tests.conftest import Servers
from tests.support.ticketing import FIRST, Books

CLAIMS = [f"u{i}" for i in range(20)]


@pytest.fixture
async def database(servers: Servers) -> AsyncIterator[Database]:
    database = Database(servers.postgres_dsn, size=8)
    yield database
    await database.close()


class Line:
    """One event whose bucket holds 5 and gets one an hour, and the lease that lets us admit."""

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

    async def changed(self, change: str) -> None:
        async with self._database.connection() as sql:
            await sql.execute(f"update inventory set {change} where event_id = $1", self.event_id)  # noqa: S608 - ours

    async def numbers(self) -> list[tuple[str, int]]:
        async with self._database.connection() as sql:
            rows: list[Any] = await sql.fetch(
                "select user_id, number from admissions where event_id = $1 order by number", self.event_id
            )
        return [(row["user_id"], row["number"]) for row in rows]


@pytest.fixture
async def line(database: Database, event_id: str) -> Line:
    made = Line(database, event_id)
    await made.open()
    return made


async def test_no_statement_passes_more_than_the_bucket_holds(line: Line) -> None:
    assert await line.admit(CLAIMS) == {"admitted": 5, "held": 15}
    assert await line.numbers() == [(f"u{i}", i + 1) for i in range(5)], "the first in the line"


async def test_who_was_held_passes_when_the_tokens_have_come(line: Line) -> None:
    await line.admit(CLAIMS)
    await line.changed("tokens_at = tokens_at - interval '3 hours'")
    assert await line.admit(CLAIMS) == {"admitted": 8, "held": 12}, "five are found again, three are new"
    assert await line.numbers() == [(f"u{i}", i + 1) for i in range(8)]


async def test_statements_that_meet_share_one_bucket(line: Line) -> None:
    """As of an owner whose statement is late and the next owner's."""
    outcomes = await asyncio.gather(*(line.admit(CLAIMS[i::4]) for i in range(4)))
    assert sum(outcomes, Counter()) == {"admitted": 5, "held": 15}


async def test_a_long_pause_fills_no_more_than_the_bucket(line: Line) -> None:
    await line.changed("tokens_at = tokens_at - interval '10 years'")
    assert (await line.admit(CLAIMS))["admitted"] == 5


async def test_a_clock_that_was_set_back_neither_gives_nor_takes_tokens(line: Line) -> None:
    await line.changed("tokens_at = tokens_at + interval '1 day', tokens = 2")
    assert (await line.admit(CLAIMS))["admitted"] == 2


async def test_the_capacity_bounds_where_it_is_less_than_the_bucket(database: Database, event_id: str) -> None:
    line = Line(database, event_id)
    await line.open(capacity=3)
    assert await line.admit(CLAIMS) == {"admitted": 3, "held": 17}
