"""A process dies at each failpoint, at its first hit and at a random one, restarts, and the sales go on to their end.

A round lets one process of every role die at a point of its own, all in the same sales: the crashes meet each other,
and a role's restart costs its seconds only once. What dies, and at which hit, stands in the test's name and output.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from itertools import zip_longest
from typing import Any

import asyncpg
import pytest

from fairgate.checker import books
from fairgate.checker.run import Recovery, Run
from fairgate.checker.verdict import Verdict, judge
from fairgate.crowd.http import Http
from fairgate.crowd.site import sockets
from fairgate.failpoints import CATALOGUE, ENVIRONMENT, EXIT_STATUS
from fairgate.local.children import Child
from fairgate.local.supervisor import ALL_ROLES, Stack
from fairgate.stores.keys import LineKeys
from fairgate.stores.valkey import client
from tests.chaos.sales import Sales
from tests.servers import running_stack, short_data_dir

# The role in which each point lies.
POINTS: Mapping[str, list[str]] = {
    "api": ["queue.joined", "queue.left", "tickets.issued", "tickets.moved", "tickets.rung"],
    "admission": [
        *("admission.leased", "admission.prepared", "admission.claimed", "admission.admitted", "admission.rung"),
        *("admission.cleared", "admission.departed", "admission.gone", "admission.sold_out"),
    ],
    "relay": [
        *("relay.read", "relay.sent_one", "relay.sent", "relay.acknowledged", "relay.marked"),
        *("journal.taken", "journal.published", "journal.forgotten"),
    ],
    "ticketing": [
        *("consumer.polled", "ticketing.taken", "ticketing.settled", "transaction.sent_one", "transaction.sent"),
        *("transaction.offsets", "transaction.committed", "tickets.expired"),
    ],
    "notification": [
        *("notification.taken", "notification.kept", "notification.told", "notification.remembered"),
        *("notification.buried", "notification.committed"),
    ],
    "live": ["live.read", "live.emitted", "live.acknowledged", "live.seen"],
}
# These need a server that has lost its data.
RECOVERY = [name for name in CATALOGUE if name.startswith("recovery.")]

ROUNDS = [
    {role: name for role, name in zip(POINTS, names, strict=True) if name} for names in zip_longest(*POINTS.values())
]

# FAIRGATE_TEST_SEED repeats a run. The random hit is one of the first few: rare steps happen once in a small sale.
HITS_MAX = 3
SEED = int(os.environ.get("FAIRGATE_TEST_SEED") or 0) or random.SystemRandom().randrange(1, 1_000_000)
# Each bounds what takes a few seconds on a quiet machine.
DIES_S, ENDS_S = 150.0, 150.0


def test_every_failpoint_has_its_crash() -> None:
    assert sorted([name for names in POINTS.values() for name in names] + RECOVERY) == sorted(CATALOGUE)


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with (
        short_data_dir() as directory,
        running_stack(
            directory / "data", roles=ALL_ROLES, guest_rate_per_minute=1_000_000, recovery_grace_s=0.5
        ) as running,
    ):
        yield running


@pytest.fixture(scope="module")
async def sales(stack: Stack) -> AsyncIterator[Sales]:
    async with Http(f"http://{stack.config.host}:{stack.config.ports.api}", 64) as http, sockets() as live:
        yield Sales(stack.config, http, live)


@pytest.mark.parametrize("points", ROUNDS, ids=lambda points: "+".join(points.values()))
async def test_a_crash_between_any_two_effects_loses_nobody_and_doubles_nobody(
    points: dict[str, str], stack: Stack, sales: Sales
) -> None:
    before = len(sales.events)
    enough = asyncio.Event()
    kinds = (sales.gathered, sales.gathered, sales.held, sales.given)
    selling = [asyncio.create_task(_again(sale, enough)) for sale in kinds]
    died = await asyncio.gather(
        *(_dies_twice(stack, role, name) for role, name in points.items()), return_exceptions=True
    )
    enough.set()
    await _all_end(selling, sales)
    assert [error for error in died if error is not None] == []
    verdict = await _verdict(stack, sales, sales.events[before:])
    assert verdict.right, verdict.text(f"seed {SEED}, {points}")


@pytest.mark.parametrize("name", RECOVERY)
async def test_a_crash_while_a_line_is_being_restored_keeps_every_place(name: str, stack: Stack, sales: Sales) -> None:
    before, began = len(sales.events), time.monotonic()

    async def wiped(event_id: str) -> None:
        """Nobody stands in the journal's gap; then everything in Valkey goes, and who restores it dies twice."""
        valkey = client(str(stack.config.valkey_url))
        try:
            await _until(lambda: _is_journaled(valkey, event_id), ENDS_S)
            stack.role("admission").child.kill()
            await valkey.flushall()
        finally:
            await valkey.aclose()
        await _dies_twice(stack, "admission", name)

    selling = [asyncio.create_task(sales.gathered(wiped))]
    await _all_end(selling, sales)
    events = sales.events[before:]
    recoveries = [Recovery(event_id, began, time.monotonic()) for event_id in events]
    verdict = await _verdict(stack, sales, events, recoveries)
    assert verdict.right, verdict.text(f"seed {SEED}, {name}")


# ---- dying


async def _dies_twice(stack: Stack, role: str, name: str) -> None:
    """At the first hit and at a random one; afterwards it lives again."""
    instance = stack.role(role)
    try:
        for when in ("1", f"random:{SEED}:{HITS_MAX}"):
            await asyncio.to_thread(_restart, instance.child, f"{name}=exit@{when}")
            await _until(
                lambda: _true(not instance.child.running), DIES_S, f"{name} was never hit, {when}, seed {SEED}"
            )
            assert instance.child.exit_code == EXIT_STATUS, f"{name}: {instance.child.tail()}"
    finally:
        await asyncio.to_thread(_restart, instance.child, "")
    await asyncio.to_thread(stack.wait_ready, instance)


def _restart(child: Child, failpoints: str) -> None:
    """By a crash, too. An armed one is not brought back by the supervisor: it would be armed again."""
    child.kill()
    assert child.env is not None
    child.env[ENVIRONMENT] = failpoints
    child.start()
    child.wanted = not failpoints


# ---- the sales


async def _again(sale: Callable[[], Awaitable[None]], enough: asyncio.Event) -> None:
    while not enough.is_set():
        await sale()


async def _all_end(selling: list[asyncio.Task[None]], sales: Sales) -> None:
    _, late = await asyncio.wait(selling, timeout=ENDS_S)
    for task in late:
        task.cancel()
    ended = await asyncio.gather(*selling, return_exceptions=True)
    waits = f"no end after {ENDS_S:.0f} s, at {time.monotonic():.1f}, seed {SEED}"
    assert not late, "\n".join([waits, *sales.unfinished()])
    assert [error for error in ended if error is not None] == []


# ---- the verdict


async def _verdict(stack: Stack, sales: Sales, events: list[str], recoveries: list[Recovery] | None = None) -> Verdict:
    """Once all is quiet. What a reader sees half-way, because a sum was written meanwhile, it sees right later."""
    sql = await books.connect(stack.config)
    try:
        await _until(lambda: _is_quiet(sql, events), ENDS_S, f"not quiet, seed {SEED}")
    finally:
        await sql.close()
    found = await books.read(stack.config, events)
    histories = [fan for fan in sales.histories if fan.event_id in events]
    run = Run(
        histories=histories,
        books=found,
        recoveries=recoveries or [],
        bad=frozenset(sales.bad),
        acts=frozenset(sales.acts),
    )
    return judge(run)


async def _is_quiet(sql: asyncpg.Connection[asyncpg.Record], events: list[str]) -> bool:
    """Nothing on its way to Kafka, no ticket owed, none that may still come back."""
    return not await sql.fetchval(
        """
        select exists (select from outbox where sent_at is null)
            or exists (
                select from admissions left join tickets using (event_id, user_id, sequence)
                where event_id = any($1) and ticket_id is null
            )
            or exists (select from tickets where event_id = any($1) and status = 'pending')
        """,
        events,
    )


async def _is_journaled(valkey: Any, event_id: str) -> bool:
    return bool(await valkey.xlen(LineKeys(event_id).journal) == 0)


async def _true(value: bool) -> bool:
    return value


async def _until(true: Callable[[], Awaitable[bool]], within_s: float, otherwise: str = "") -> None:
    deadline = time.monotonic() + within_s
    while not await true():
        assert time.monotonic() < deadline, otherwise or f"not within {within_s:.0f} s"
        await asyncio.sleep(0.05)
