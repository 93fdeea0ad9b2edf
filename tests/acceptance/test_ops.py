"""`fairgate ops` as an operator meets it, and orphans that come back (I8), on a stack of real processes."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from fairgate.local.supervisor import Stack
from tests.servers import running_stack, short_data_dir
from tests.support.line import Fans, fans

PATIENCE_S = 90.0


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """Two processes that admit, a relay, and nobody who issues."""
    with (
        short_data_dir() as directory,
        running_stack(directory / "data", roles={"admission": 2, "relay": 1}) as running,
    ):
        yield running


async def fairgate(stack: Stack, *arguments: str) -> tuple[int, str, str]:
    """Exit status, stdout, stderr."""
    command = [sys.executable, "-m", "fairgate", *arguments, "--data-dir", str(stack.config.data_dir)]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr


async def seen(stack: Stack, *arguments: str) -> tuple[int, list[dict[str, Any]]]:
    status, out, err = await fairgate(stack, "ops", *arguments, "--json")
    assert err == ""
    return status, json.loads(out)


async def claims_of(stack: Stack, event_id: str) -> list[dict[str, Any]]:
    return [orphan for orphan in (await seen(stack, "orphans"))[1] if orphan["eventId"] == event_id]


def dsn(stack: Stack) -> str:
    assert stack.config.postgres_dsn is not None
    return stack.config.postgres_dsn.get_secret_value()


async def until_claimed(crowd: Fans, event_id: str, count: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while (await crowd.store.waiting(crowd.book.get(event_id)))[1] != count:
            async with crowd.book.signals["read"].expect(1, PATIENCE_S):
                crowd.book.wake.set()


@pytest.mark.parametrize("restart", [False, True], ids=["for-good", "and-back"])
async def test_claims_of_a_killed_process_come_back(stack: Stack, event_id: str, restart: bool) -> None:
    """The claims hang in SQL when their process dies; for good: the other one must take the shard over."""
    assert stack.config.valkey_url is not None
    sql = await asyncpg.connect(dsn(stack))
    async with fans(dsn(stack), stack.config.valkey_url) as crowd:
        await crowd.create(event_id, rate=1_000)
        holding = sql.transaction()
        await holding.start()
        await sql.fetchval("select 1 from inventory where event_id = $1 for update", event_id)
        await asyncio.gather(*(crowd.join(event_id, f"u{i}") for i in range(20)))
        while not (claims := await claims_of(stack, event_id)):
            pass
        owner, held = claims[0]["owner"], len(claims)
        assert claims[0]["then"] == f"{owner} repeats the steps of admission"
        stack.kill("admission", int(owner.rpartition("-")[2]), restart=restart)
        killed_at = time.monotonic()
        await holding.rollback()
        await until_claimed(crowd, event_id, 0)
        back_s = time.monotonic() - killed_at
        admitted = await sql.fetch("select user_id from admissions where event_id = $1 order by number", event_id)
        slot_is_kept = await sql.fetchval("select until > clock_timestamp() from slots where owner = $1", owner)
        await sql.close()
    print(f"{held} orphans of {owner} were back after {back_s:.1f} s")  # noqa: T201
    assert len(admitted) == 20
    assert slot_is_kept, "nobody waited until the number of the dead process was free"
    assert await claims_of(stack, event_id) == []
    if not restart:
        stack.restart("admission", int(owner.rpartition("-")[2]))


async def test_an_overdue_orphan_is_named_with_what_will_happen(stack: Stack, event_id: str, tmp_path: Path) -> None:
    """A claim that no process knows of, as a frozen owner leaves it; status 1 says so."""
    assert stack.config.valkey_url is not None
    async with fans(dsn(stack), stack.config.valkey_url) as crowd:
        await crowd.create(event_id)
        keys = crowd.store.keys(event_id)
        for index in range(2):
            stack.pause("admission", index)
        try:
            await crowd.store.channel.command("ZADD", keys.claims, 5, "frozen")
            await crowd.store.channel.command("HSET", keys.claimed_at, 5, int((time.time() - 3_600) * 1000))
            status, found = await seen(stack, "orphans")
            (orphan,) = [one for one in found if one["eventId"] == event_id]
            assert (status, orphan["userId"], orphan["sequence"], orphan["overdue"]) == (1, "frozen", 5, True)
            status, out, _ = await fairgate(stack, "ops", "orphans")
            assert status == 1
            assert "frozen" in out
            assert "! overdue: " in out
        finally:
            for index in range(2):
                stack.resume("admission", index)
        await until_claimed(crowd, event_id, 0)


async def test_lag_and_outbox_are_told_with_their_owners(stack: Stack, event_id: str) -> None:
    assert stack.config.valkey_url is not None
    async with fans(dsn(stack), stack.config.valkey_url) as crowd:
        await crowd.create(event_id, rate=1_000)
        for i in range(3):
            await crowd.join(event_id, f"u{i}")
        async with asyncio.timeout(PATIENCE_S):
            while (lag := await of_topic(stack, "ticket-issue"))["messages"] < 3:
                pass
    assert (lag["group"], lag["members"]) == ("ticket-processor-group", 0)
    assert lag["seconds"] > 0
    assert (await of_topic(stack, "ticket-issued"))["messages"] == 0
    _, found = await seen(stack, "outbox")
    assert {one["shard"] for one in found} == {0, 1, 2, 3}
    assert {one["lease_owner"] for one in found} == {"relay-0"}


async def of_topic(stack: Stack, topic: str) -> dict[str, Any]:
    _, found = await seen(stack, "lag")
    return next(one for one in found if one["topic"] == topic)


async def test_a_stack_that_does_not_run_is_said_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fairgate", "ops", "orphans", "--data-dir", str(tmp_path)]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("✗ no PostgreSQL is known\n")
