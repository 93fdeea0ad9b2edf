"""Valkey killed, wiped in a rush, or replaced by a replica that is behind: whoever asks again has the same place."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from fairgate.domain.line import LineState
from fairgate.domain.place import Place, Status
from fairgate.errors import FairgateError, NotJournaled
from fairgate.local.ports import free_base
from fairgate.local.supervisor import Stack
from fairgate.local.valkey import Valkey
from fairgate.queue import journaled, queue
from fairgate.queue.journaled import Journaled
from fairgate.queue.queue import Queue
from fairgate.stores.journal import JournalStore
from fairgate.stores.keys import JOURNALED_CHANNEL
from fairgate.stores.notices import Listener
from fairgate.stores.valkey import client
from tests.conftest import Servers
from tests.servers import own_stores
from tests.support.journal import journaling, ledger
from tests.support.line import SIGNER
from tests.support.night import Night, night_at

RUSH = 1_500
# A client that hears 503 asks again soon.
AGAIN_S = 0.05


@pytest.fixture
def stack(servers: Servers) -> Iterator[Stack]:
    """Stores of our own: they are killed."""
    with own_stores(servers.config) as stack:
        yield stack


@pytest.fixture
async def night(stack: Stack) -> AsyncIterator[Night]:
    async with night_at(stack) as night:
        yield night


@pytest.fixture
async def durable(night: Night) -> AsyncIterator[Night]:
    """Joins are answered when Kafka has them."""
    crowd, valkey = night.crowd, client(night.config.valkey_url or "")
    waits = Journaled(JournalStore(crowd.store))
    crowd.queue = Queue(crowd.book, crowd.store, crowd.database, SIGNER, waits)
    ear = Listener(valkey, JOURNALED_CHANNEL, waits.heard, waits.ask_all)
    await ear.start()
    yield night
    await ear.stop()
    await valkey.aclose()


class Rush:
    """Clients who all join at once, and ask until they are answered. `sequences` has whom an answer has reached."""

    def __init__(self, night: Night, event_id: str, count: int = RUSH) -> None:
        self._night, self._event_id = night, event_id
        self.sequences: dict[str, int] = {}
        self.enough = asyncio.Event()
        self._clients = [asyncio.create_task(self._come(f"u{i}", i * 0.001)) for i in range(count)]

    async def over(self) -> None:
        await asyncio.gather(*self._clients)

    async def again(self) -> dict[str, int]:
        """Everybody asks once more, and shows the token. → the sequences that they have now."""
        tokens = {user: SIGNER.sign(self._event_id, user, sequence) for user, sequence in self.sequences.items()}
        places = await asyncio.gather(*(self._asked(user, token) for user, token in tokens.items()))
        return {user: place.sequence or 0 for user, place in zip(tokens, places, strict=True)}

    async def _come(self, user_id: str, after_s: float) -> None:
        await asyncio.sleep(after_s)
        self.sequences[user_id] = (await self._asked(user_id)).sequence or 0
        if len(self.sequences) >= RUSH // 3:
            self.enough.set()

    async def _asked(self, user_id: str, token: str | None = None) -> Place:
        async with asyncio.timeout(120):
            while True:
                try:
                    return await self._night.crowd.join(self._event_id, user_id, token)
                except FairgateError as error:
                    assert error.retryable, error
                    await asyncio.sleep(AGAIN_S)


async def test_a_wipe_in_the_middle_of_a_rush_loses_nobody_who_asks_again(night: Night, event_id: str) -> None:
    await night.crowd.create(event_id, state=LineState.PAUSED)
    generation = night.crowd.book.get(event_id).generation
    rush = Rush(night, event_id)
    await rush.enough.wait()
    await night.crowd.store.channel.command("FLUSHALL")
    await night.restored(event_id, generation)
    await rush.over()
    assert await rush.again() == rush.sequences
    members = dict(await night.members(event_id))
    assert members == rush.sequences
    assert len(set(members.values())) == RUSH


async def test_a_leave_that_was_answered_outlives_a_wipe(durable: Night, event_id: str) -> None:
    """Joins wait for nothing here; a leave waits until Kafka has it, though nobody tells this process."""
    crowd = durable.crowd
    waits = Journaled(JournalStore(crowd.store))
    crowd.queue = Queue(crowd.book, crowd.store, crowd.database, SIGNER, waits, joins_wait=False)
    names = await durable.fill(event_id, 200)
    generation = crowd.book.get(event_id).generation
    left = await asyncio.gather(*(crowd.queue.leave(event_id, name) for name in names[::2]))
    assert {place.status for place in left} == {Status.LEFT}
    await crowd.store.channel.command("FLUSHALL")
    await durable.restored(event_id, generation)
    assert [name for name, _ in await durable.members(event_id)] == names[1::2]


@pytest.fixture
async def unheard(durable: Night, event_id: str, monkeypatch: pytest.MonkeyPatch) -> Night:
    """A line of two, u0 and u1, and nobody who brings to Kafka what happens from now on."""
    monkeypatch.setattr(queue, "LEAVE_S", 0.2)
    crowd = durable.crowd
    waits = Journaled(JournalStore(crowd.store))
    crowd.queue = Queue(crowd.book, crowd.store, crowd.database, SIGNER, waits, joins_wait=False)
    await durable.fill(event_id, 2)
    await durable.journal.stop()
    return durable


async def test_a_leave_outlives_a_wipe_also_while_kafka_is_away(unheard: Night, event_id: str) -> None:
    assert (await unheard.crowd.queue.leave(event_id, "u0")).status is Status.LEFT
    await unheard.flushed(event_id)
    assert [name for name, _ in await unheard.members(event_id)] == ["u1"]
    assert (await unheard.crowd.position(event_id, "u0")).status is Status.LEFT


async def test_who_left_may_join_again_while_kafka_is_away(unheard: Night, event_id: str) -> None:
    await unheard.crowd.queue.leave(event_id, "u0")
    again = await unheard.crowd.join(event_id, "u0")
    await unheard.flushed(event_id)
    back = await unheard.crowd.join(event_id, "u0", SIGNER.sign(event_id, "u0", again.sequence or 0))
    assert (back.status, back.sequence) == (Status.WAITING, again.sequence)


async def test_a_server_that_was_restored_during_a_leave_has_it_too(
    unheard: Night, event_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The restored line had u0 again: nobody knew of the leave yet."""
    keep, found = unheard.crowd.queue._keep_leave, []

    async def late(*arguments: Any) -> None:
        await unheard.flushed(event_id)
        found.extend(await unheard.members(event_id))
        await keep(*arguments)

    monkeypatch.setattr(unheard.crowd.queue, "_keep_leave", late)
    assert (await unheard.crowd.queue.leave(event_id, "u0")).status is Status.LEFT
    assert [name for name, _ in found] == ["u0", "u1"]
    assert [name for name, _ in await unheard.members(event_id)] == ["u1"]


async def test_a_wipe_in_a_rush_loses_nobody_at_all_where_joins_wait_for_kafka(durable: Night, event_id: str) -> None:
    await durable.crowd.create(event_id, state=LineState.PAUSED)
    generation = durable.crowd.book.get(event_id).generation
    rush = Rush(durable, event_id)
    await rush.enough.wait()
    answered = dict(rush.sequences)
    await durable.crowd.store.channel.command("FLUSHALL")
    await durable.restored(event_id, generation)
    members = dict(await durable.members(event_id))
    assert {user: members.get(user) for user in answered} == answered
    await rush.over()


async def test_with_journal_durability_an_answer_means_that_kafka_has_it(durable: Night, event_id: str) -> None:
    await durable.crowd.create(event_id, state=LineState.PAUSED)
    place = await durable.crowd.join(event_id, "a")
    assert (await ledger(durable.config, event_id)).waiting({}, {}) == {"a": place.sequence}
    assert (await durable.crowd.queue.leave(event_id, "a")).status is Status.LEFT
    assert (await ledger(durable.config, event_id)).waiting({}, {}) == {}


async def test_with_journal_durability_a_join_that_kafka_does_not_get_is_503_and_keeps_its_place(
    durable: Night, event_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await durable.crowd.create(event_id, state=LineState.PAUSED)
    await durable.journal.stop()
    monkeypatch.setattr(journaled, "WITHIN_S", 0.5)
    with pytest.raises(NotJournaled):
        await durable.crowd.join(event_id, "first")
    with pytest.raises(NotJournaled):  # a repeat is no safer
        await durable.crowd.join(event_id, "first")
    await durable.crowd.store.join(durable.crowd.book.get(event_id), ["second"])
    monkeypatch.setattr(journaled, "WITHIN_S", 30.0)
    async with journaling(durable.config):
        assert (await durable.crowd.join(event_id, "first")).position == 1


async def test_a_server_that_is_killed_and_restarted_under_joins_loses_nobody(
    night: Night, stack: Stack, event_id: str
) -> None:
    await night.crowd.create(event_id, state=LineState.PAUSED)
    generation = night.crowd.book.get(event_id).generation
    rush = Rush(night, event_id)
    await rush.enough.wait()
    stack.valkey.child.kill()
    await asyncio.to_thread(stack.valkey.start)
    await night.restored(event_id, generation)
    await rush.over()
    assert await rush.again() == rush.sequences
    assert dict(await night.members(event_id)) == rush.sequences


async def test_a_replica_that_was_behind_gets_lost_joins_back_and_keeps_no_lost_removal(
    night: Night, stack: Stack, event_id: str, data_dir: Path
) -> None:
    names = await night.fill(event_id, 100, rate=1_000, burst=1_000, capacity=10)
    generation = night.crowd.book.get(event_id).generation
    behind = Valkey(free_base(), data_dir / "behind", data_dir)
    await asyncio.to_thread(behind.start)
    await asyncio.to_thread(follow, behind, stack.valkey.port)

    late = {f"late{i}": (await night.crowd.join(event_id, f"late{i}")).sequence for i in range(20)}
    await night.crowd.queue.leave(event_id, names[50])
    async with night.keeper.admission.signals["admitted"].expect(10):
        await night.crowd.lines.open(event_id)
    await night.all_journaled(event_id)
    before = await night.members(event_id)

    stack.valkey.child.kill()
    await asyncio.to_thread(behind.stop)
    promoted = Valkey(stack.valkey.port, behind.data_dir, data_dir)
    await asyncio.to_thread(promoted.start)
    try:
        await night.restored(event_id, generation)
        assert await night.members(event_id) == before
        assert [name for name, _ in before] == [*names[10:50], *names[51:], *late]
        row = await night.recovery(event_id)
        assert (row["cause"], row["present"], row["by_journal"], row["removed"]) == ("server_changed", 100, 20, 11)
    finally:
        await asyncio.to_thread(promoted.stop)


def follow(replica: Valkey, port: int) -> None:
    """Take over what the primary has, and hear nothing of it from then on."""
    import redis

    connection = redis.Redis.from_url(replica.url, decode_responses=True)
    connection.replicaof("127.0.0.1", str(port))
    while connection.info("replication").get("master_link_status") != "up":
        connection.ping()
    primary = redis.Redis(port=port, decode_responses=True)
    offset = primary.info("replication")["master_repl_offset"]
    while connection.info("replication")["slave_repl_offset"] < offset:
        connection.ping()
    connection.replicaof("NO", "ONE")
    # What it took over is in its file only once that is written anew; ended before, it would come back empty.
    while any(connection.info("persistence")[f"aof_rewrite_{state}"] for state in ("in_progress", "scheduled")):
        connection.ping()
    for one in (connection, primary):
        one.close()
