"""A crowd's claims are admitted by one statement, as `admit` would, or not at all (decision 14)."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from fairgate.errors import StaleEpoch
from fairgate.stores.database import Database
from tests.conftest import Servers
from tests.support.gate import Gate
from tests.support.ticketing import FIRST

USERS = [f"u{i}" for i in range(5)]


@pytest.fixture
async def gate(servers: Servers, event_id: str) -> AsyncIterator[Gate]:
    database = Database(servers.postgres_dsn, size=2)
    gate = Gate(database, event_id)
    await gate.open(capacity=8)
    yield gate
    await database.close()


async def test_all_are_admitted_in_their_order_and_their_tickets_ordered(gate: Gate) -> None:
    assert await gate.admit_crowd(USERS) == 1
    await gate.changed("tokens = 5")
    assert await gate.admit_crowd(["u7", "u8"]) == 6

    numbers = [(user, number) for number, user in enumerate([*USERS, "u7", "u8"], 1)]
    assert await gate.numbers() == numbers
    assert await gate.reserved() == (7, 8)
    orders = await gate.orders()
    assert [(order["userId"], order["number"]) for order in orders] == numbers
    assert [order["sequence"] for order in orders] == [FIRST + int(user[1:]) for user, _ in numbers]
    assert {order["eventId"] for order in orders} == {gate.event_id}
    assert await gate.admit(["u0"]) == {"admitted": 1}, "a repeat is found"


async def test_the_orders_are_those_of_the_other_way(gate: Gate) -> None:
    await gate.admit_crowd(["u0"])
    await gate.admit(["u1"])
    one, other = await gate.orders()
    assert list(one) == list(other)
    assert other["timestamp"] - one["timestamp"] in range(60_000)


@pytest.mark.parametrize(
    "before",
    [
        "update inventory set tokens = 4.5, tokens_at = clock_timestamp() where event_id = $1",
        "update inventory set reserved = 4 where event_id = $1",
        "insert into admissions (event_id, number, user_id, sequence, source) values ($1, 900, 'u3', -1, 'direct')",
        "insert into admissions (event_id, number, user_id, sequence, source) values ($1, 900, 'u3', $2, 'line')",
        "insert into departures (event_id, user_id, sequence, reason) values ($1, 'u3', $2, 'closed')",
    ],
    ids=[
        "no token for the last",
        "no ticket for the last",
        "has another right",
        "was admitted before",
        "was sent away",
    ],
)
async def test_where_one_cannot_be_admitted_nobody_is(gate: Gate, before: str) -> None:
    await gate.execute(before, *[gate.event_id, FIRST + 3][: 1 + ("$2" in before)])
    as_before = await gate.reserved(), await gate.numbers()

    assert await gate.admit_crowd(USERS) is None

    assert (await gate.reserved(), await gate.numbers()) == as_before
    assert await gate.orders() == []


async def test_a_leave_of_this_place_refuses_nobody(gate: Gate) -> None:
    await gate.execute(
        "insert into departures (event_id, user_id, sequence, reason) values ($1, 'u3', $2, 'left')",
        gate.event_id,
        FIRST + 3,
    )
    assert await gate.admit_crowd(USERS) == 1


async def test_who_has_lost_the_lease_admits_nobody(gate: Gate) -> None:
    await gate.lose_the_lease()
    with pytest.raises(StaleEpoch):
        await gate.admit_crowd(USERS)
    assert await gate.numbers() == []
