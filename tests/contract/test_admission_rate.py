"""The rate is kept by SQL: its clock fills the bucket and stamps the admissions, whenever a statement arrives (I7)."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from fairgate.stores.database import Database
from tests.conftest import Servers
from tests.support.gate import Gate

CLAIMS = [f"u{i}" for i in range(20)]


@pytest.fixture
async def database(servers: Servers) -> AsyncIterator[Database]:
    database = Database(servers.postgres_dsn, size=8)
    yield database
    await database.close()


@pytest.fixture
async def gate(database: Database, event_id: str) -> Gate:
    made = Gate(database, event_id)
    await made.open()
    return made


async def test_no_statement_passes_more_than_the_bucket_holds(gate: Gate) -> None:
    assert await gate.admit(CLAIMS) == {"admitted": 5, "held": 15}
    assert await gate.numbers() == [(f"u{i}", i + 1) for i in range(5)], "the first in the line"


async def test_who_was_held_passes_when_the_tokens_have_come(gate: Gate) -> None:
    await gate.admit(CLAIMS)
    await gate.changed("tokens_at = tokens_at - interval '3 hours'")
    assert await gate.admit(CLAIMS) == {"admitted": 8, "held": 12}, "five are found again, three are new"
    assert await gate.numbers() == [(f"u{i}", i + 1) for i in range(8)]


async def test_statements_that_meet_share_one_bucket(gate: Gate) -> None:
    """As of an owner whose statement is late and the next owner's."""
    outcomes = await asyncio.gather(*(gate.admit(CLAIMS[i::4]) for i in range(4)))
    assert sum(outcomes, Counter()) == {"admitted": 5, "held": 15}


async def test_a_long_pause_fills_no_more_than_the_bucket(gate: Gate) -> None:
    await gate.changed("tokens_at = tokens_at - interval '10 years'")
    assert (await gate.admit(CLAIMS))["admitted"] == 5


async def test_a_clock_that_was_set_back_neither_gives_nor_takes_tokens(gate: Gate) -> None:
    await gate.changed("tokens_at = tokens_at + interval '1 day', tokens = 2")
    assert (await gate.admit(CLAIMS))["admitted"] == 2


async def test_the_capacity_bounds_where_it_is_less_than_the_bucket(database: Database, event_id: str) -> None:
    gate = Gate(database, event_id)
    await gate.open(capacity=3)
    assert await gate.admit(CLAIMS) == {"admitted": 3, "held": 17}
