"""`fairgate audit` names who is missing, who came from nowhere, and who has something twice."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from fairgate.domain.line import LineState
from tests.acceptance.conftest import Whole
from tests.support.line import Fans, fans

PATIENCE_S = 90.0
FANS = 8


@pytest.fixture
async def sql(stack: Whole) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    assert stack.config.postgres_dsn is not None
    connection = await asyncpg.connect(stack.config.postgres_dsn.get_secret_value())
    yield connection
    await connection.close()


@pytest.fixture
async def crowd(stack: Whole) -> AsyncIterator[Fans]:
    assert stack.config.postgres_dsn is not None
    assert stack.config.valkey_url is not None
    async with fans(stack.config.postgres_dsn.get_secret_value(), stack.config.valkey_url) as crowd:
        yield crowd


async def sold(crowd: Fans, event_id: str) -> None:
    """Everybody joined and has a ticket, but one who left."""
    await crowd.create(event_id, rate=1_000, state=LineState.PAUSED)
    for i in range(FANS + 1):
        await crowd.join(event_id, f"{event_id}-{i}")
    await crowd.queue.leave(event_id, f"{event_id}-{FANS}")
    await crowd.lines.open(event_id)
    async with asyncio.timeout(PATIENCE_S), crowd.database.connection() as sql:
        while await sql.fetchval("select issued from tallies where event_id = $1", event_id) != FANS:
            async with crowd.book.signals["read"].expect(1, PATIENCE_S):
                crowd.book.wake.set()


async def audit(stack: Whole, *arguments: str) -> tuple[int, Any]:
    """Exit status and the document."""
    command = [sys.executable, "-m", "fairgate", "audit", *arguments, "--json"]
    command += ["--data-dir", str(stack.config.data_dir)]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=120, check=False)
    assert done.stderr == ""
    return done.returncode, json.loads(done.stdout)


def of(event_id: str, found: Any) -> list[tuple[str, str | None]]:
    return [(one["equation"], one["userId"]) for one in found["differences"] if one["eventId"] == event_id]


async def test_the_books_of_a_sale_say_where_everybody_is(stack: Whole, crowd: Fans, event_id: str) -> None:
    await sold(crowd, event_id)
    _, found = await audit(stack)
    assert of(event_id, found) == []
    (book,) = [book for book in found["books"] if book["eventId"] == event_id]
    shown = {name: count for name, count in book.items() if count and name != "eventId"}
    assert shown == {"joined": FANS + 1, "left": 1, "admitted": FANS, "confirmed": FANS}


async def test_a_ticket_that_vanished_is_named_with_its_user(
    stack: Whole, crowd: Fans, sql: asyncpg.Connection[asyncpg.Record], event_id: str
) -> None:
    await sold(crowd, event_id)
    lost = f"{event_id}-3"
    kept = await sql.fetchrow("delete from tickets where user_id = $1 returning tickets.*::text as row", lost)
    assert kept is not None
    status, found = await audit(stack)
    assert status == 1
    assert ("pipeline", lost) in of(event_id, found)
    assert ("tickets", None) in of(event_id, found)
    await sql.execute("insert into tickets select ($1::text::tickets).*", kept["row"])
    assert of(event_id, (await audit(stack))[1]) == []


async def test_an_admission_and_a_ticket_from_nowhere_are_named(
    stack: Whole, crowd: Fans, sql: asyncpg.Connection[asyncpg.Record], event_id: str
) -> None:
    await sold(crowd, event_id)
    await sql.execute(
        "insert into admissions (event_id, number, user_id, sequence, source) values ($1, 99, 'forged', 5, 'line')",
        event_id,
    )
    await sql.execute(
        """insert into tickets (event_id, user_id, sequence, number, status, settled_by)
           values ($1, 'bought', 6, 98, 'cancelled', 'nobody')""",
        event_id,
    )
    status, found = await audit(stack)
    assert status == 1
    assert {("stock", "forged"), ("pipeline", "forged"), ("tickets", "bought")} <= set(of(event_id, found))
    await sql.execute("delete from admissions where user_id = 'forged'")
    await sql.execute("delete from tickets where user_id = 'bought'")


async def test_order_and_duplicates_are_judged_by_user(
    stack: Whole, crowd: Fans, sql: asyncpg.Connection[asyncpg.Record], event_id: str
) -> None:
    await sold(crowd, event_id)
    assert event_id not in json.dumps(await audit(stack, "order"))
    assert event_id not in json.dumps(await audit(stack, "duplicates"))
    swap = "update admissions set sequence = -sequence where event_id = $1 and number in (2, 3)"
    await sql.execute(swap, event_id)
    await sql.execute(
        """update admissions a set sequence = -b.sequence from admissions b
           where a.event_id = $1 and b.event_id = $1 and a.number in (2, 3) and b.number = 5 - a.number""",
        event_id,
    )
    await sql.execute("alter table tickets drop constraint tickets_event_id_number_key")  # it would not let this happen
    await sql.execute("update tickets set number = 7 where event_id = $1 and number = 6", event_id)
    status, found = await audit(stack, "order")
    assert (status, [one["userId"] for one in found if one["eventId"] == event_id]) == (1, [f"{event_id}-2"])
    status, found = await audit(stack, "duplicates")
    twice = {one["userId"] for one in found["a number used twice"] if one["eventId"] == event_id}
    assert (status, twice) == (1, {f"{event_id}-5", f"{event_id}-6"})
    await sql.execute("delete from tickets where event_id = $1", event_id)
    await sql.execute("alter table tickets add unique (event_id, number)")
    await sql.execute("delete from admissions where event_id = $1", event_id)
