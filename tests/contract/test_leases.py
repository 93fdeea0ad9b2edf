"""Leases and slots, by the database's clock."""

from __future__ import annotations

import uuid

import pytest

from fairgate.stores.database import Database
from fairgate.stores.leases import SILENCE_S, Shards, Slot


@pytest.fixture
def kind() -> str:
    return f"test-{uuid.uuid4().hex[:8]}"


async def expire(database: Database, kind: str) -> None:
    """As if the owner had been silent for the whole lease."""
    async with database.connection() as connection:
        await connection.execute("update leases set until = now() - interval '1 s' where name like $1 || ':%'", kind)


async def test_a_shard_has_one_owner(database: Database, kind: str) -> None:
    first, second = (Shards(database, kind, kind, name, 4) for name in ("a", "b"))
    await first.run_once()
    await second.run_once()
    assert sorted(first.epochs) == [0, 1, 2, 3]
    assert second.epochs == {}


async def test_taking_over_moves_the_epoch_and_the_old_owner_lets_go(database: Database, kind: str) -> None:
    old, new = (Shards(database, kind, kind, name, 2) for name in ("old", "new"))
    await old.run_once()
    before = old.epochs
    await expire(database, kind)
    await new.run_once()
    assert all(epoch > before[shard] for shard, epoch in new.epochs.items())
    await old.run_once()
    assert old.epochs == {}


async def test_the_same_name_takes_its_shards_back_at_once(database: Database, kind: str) -> None:
    died, restarted = (Shards(database, kind, kind, "admission-0", 2) for _ in range(2))
    await died.run_once()
    await restarted.run_once()
    assert sorted(restarted.epochs) == [0, 1]
    assert all(restarted.epochs[shard] > epoch for shard, epoch in died.epochs.items())


async def test_processes_share_the_shards(database: Database, kind: str) -> None:
    slots = [Slot(database, kind, name) for name in ("a", "b")]
    for slot in slots:
        await slot.run_once()
    first, second = (Shards(database, kind, kind, name, 4) for name in ("a", "b"))
    for _ in range(2):
        await first.run_once()
        await second.run_once()
    assert len(first.epochs) == len(second.epochs) == 2
    assert set(first.epochs) | set(second.epochs) == {0, 1, 2, 3}


async def test_a_lease_that_was_not_renewed_in_time_is_not_believed(
    database: Database, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = Shards(database, kind, kind, "a", 1)
    await shards.run_once()
    assert shards.epochs
    monkeypatch.setattr("fairgate.stores.leases.time.monotonic", lambda: float("inf"))
    assert shards.epochs == {}


async def test_slots_are_the_lowest_free_numbers_and_come_back(database: Database, kind: str) -> None:
    a, b = Slot(database, kind, "a"), Slot(database, kind, "b")
    for slot in (a, b):
        await slot.run_once()
    assert (a.number, b.number) == (0, 1)
    again = Slot(database, kind, "b")
    await again.run_once()
    assert again.number == 1
    await a.teardown()
    c = Slot(database, kind, "c")
    await c.run_once()
    assert c.number == 0


async def test_who_lost_a_slot_knows_it(database: Database, kind: str) -> None:
    frozen, other = Slot(database, kind, "frozen"), Slot(database, kind, "other")
    await frozen.run_once()
    async with database.connection() as connection:
        await connection.execute("update slots set until = now() - interval '1 s' where role = $1", kind)
    await other.run_once()
    await frozen.run_once()
    assert other.number == 0
    assert frozen.lost


async def test_a_process_that_died_leaves_its_share_to_who_lives_long_before_its_slot_is_free(
    database: Database, kind: str
) -> None:
    slots = [Slot(database, kind, name) for name in ("lives", "died")]
    lives, died = (Shards(database, kind, kind, name, 4) for name in ("lives", "died"))
    for service in (*slots, lives, died, lives, died):
        await service.run_once()
    assert len(died.epochs) == 2
    async with database.connection() as connection:
        await connection.execute(
            "update slots set until = until - make_interval(secs => $2) where role = $1 and owner = 'died'",
            kind,
            SILENCE_S + 0.1,
        )
        await connection.execute(
            "update leases set until = now() - interval '1 s' where name like $1 || ':%' and owner = 'died'", kind
        )
    await lives.run_once()
    assert sorted(lives.epochs) == [0, 1, 2, 3]
    async with database.connection() as connection:
        assert await connection.fetchval("select until > now() from slots where role = $1 and owner = 'died'", kind), (
            "its number is still its own"
        )
