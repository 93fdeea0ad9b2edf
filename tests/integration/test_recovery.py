"""Lines that Valkey forgot are whole again: from the journal in Kafka, from what the server has, and from SQL."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from fairgate.domain.line import generation_of
from fairgate.domain.place import Status
from fairgate.errors import Unavailable
from fairgate.local.supervisor import Stack
from tests.conftest import Servers
from tests.servers import own_stores
from tests.support.night import Night, night_at

log = logging.getLogger("tests.recovery")

# 100,000 with FAIRGATE_TEST_WAITING=100000: what the figures in the closing note were measured with
# (`-o log_cli=true -o log_cli_level=info` shows them).
WAITING = int(os.environ.get("FAIRGATE_TEST_WAITING", "3000"))


@pytest.fixture(scope="module")
def stack(servers: Servers) -> Iterator[Stack]:
    """Stores of our own: they are wiped."""
    with own_stores(servers.config) as stack:
        yield stack


@pytest.fixture
async def night(stack: Stack) -> AsyncIterator[Night]:
    async with night_at(stack) as night:
        yield night


async def test_a_wiped_line_has_the_same_order_and_no_number_twice(night: Night, event_id: str) -> None:
    names = await night.fill(event_id, WAITING)
    await asyncio.gather(*(night.crowd.queue.leave(event_id, name) for name in names[10:20]))
    await night.all_journaled(event_id)
    before = await night.members(event_id)
    began = time.monotonic()
    await night.flushed(event_id)
    took_s = time.monotonic() - began
    assert await night.members(event_id) == before
    row = await night.recovery(event_id)
    log.info(
        "FLUSHALL with %d waiting: back after %.2f s, of which %.2f restoring", len(before), took_s, row["seconds"]
    )
    assert (row["by_journal"], row["present"], row["waiting"]) == (len(before), 0, len(before))
    assert row["cause"] in ("went_back", "server_changed")
    later = await night.crowd.join(event_id, "later")
    assert (later.sequence or 0) > before[-1][1] and later.position == len(before) + 1


async def test_who_was_admitted_or_left_does_not_come_back(night: Night, event_id: str) -> None:
    names = await night.fill(event_id, 30, rate=1_000, capacity=10)
    async with night.keeper.admission.signals["admitted"].expect(10):
        await night.crowd.lines.open(event_id)
    await night.crowd.queue.leave(event_id, names[29])
    await night.all_journaled(event_id)
    board = await night.crowd.store.board(night.crowd.book.get(event_id), 1)
    async with night.keeper.recovery.signals["remembered"].expect(len(list(night.crowd.book))):
        await night.flushed(event_id)
    assert [name for name, _ in await night.members(event_id)] == names[10:29]
    outcomes = night.crowd.store.keys(event_id).outcomes
    found = await night.crowd.store.channel.command("HGETALL", outcomes)
    kept = {user.decode(): text.decode() for user, text in found.items()}
    assert {name: text.partition(":")[0] for name, text in kept.items()} == {
        **dict.fromkeys(names[:10], "admitted"),
        names[29]: "left",
    }
    again = await night.crowd.store.board(night.crowd.book.get(event_id), 1)
    assert (again.joined, again.left, again.admitted, again.serving) == (board.joined, 1, 10, board.serving)


async def test_several_lines_are_restored_in_one_pass(night: Night, event_id: str) -> None:
    events = [f"{event_id}-{i}" for i in range(5)]
    for event in events:
        await night.fill(event, 20)
    before = {event: await night.members(event) for event in events}
    await night.flushed(*events)
    assert {event: await night.members(event) for event in events} == before


async def test_a_line_that_an_operator_asks_for_is_rebuilt(night: Night, event_id: str) -> None:
    names = await night.fill(event_id, 50)
    generation = night.crowd.book.get(event_id).generation
    key = night.crowd.store.keys(event_id).line
    await night.crowd.store.channel.command("ZREM", key, *names[:25])
    async with night.crowd.database.transaction() as connection:
        await night.crowd.database.queries.ask_for_rebuild(connection, event_id=event_id)
        await night.crowd.database.queries.tell_lines_changed(connection, event_id=event_id)
    await night.restored(event_id, generation)
    assert [name for name, _ in await night.members(event_id)] == names
    row = await night.recovery(event_id)
    assert (row["cause"], row["present"], row["by_journal"], row["removed"]) == ("operator", 25, 25, 0)


async def test_a_server_that_went_back_in_time_under_a_living_connection_is_noticed(
    night: Night, event_id: str
) -> None:
    """The old state still holds a valid fence: only the song tells."""
    names = await night.fill(event_id, 20)
    channel, keys = night.crowd.store.channel, night.crowd.store.keys(event_id)
    old = {key: await channel.command("DUMP", key) for key in (keys.line, keys.state, keys.sequence)}
    songs = await channel.command("KEYS", "lines:canary:*")
    old |= {song: await channel.command("DUMP", song) for song in songs}
    for name in names[:5]:
        await night.crowd.queue.leave(event_id, name)
    async with night.keeper.owner.sung.expect(2):
        await night.crowd.join(event_id, "later")
    await night.all_journaled(event_id)
    before = await night.members(event_id)
    generation = night.crowd.book.get(event_id).generation
    async with night.keeper.recovery.signals["restored"].expect(1, within_s=30):
        for key, dump in old.items():
            await channel.command("RESTORE", key, 0, dump, "REPLACE")
    await night.restored(event_id, generation)
    assert await night.members(event_id) == before
    row = await night.recovery(event_id)
    assert (row["cause"], row["by_journal"], row["removed"]) == ("went_back", 1, 5)


async def test_a_line_that_is_not_whole_stays_shut_until_kafka_can_be_read(night: Night, event_id: str) -> None:
    names = await night.fill(event_id, 10)
    generation = night.crowd.book.get(event_id).generation
    reader = night.keeper.recovery._reader
    night.keeper.recovery._reader = Away()
    await night.crowd.store.channel.command("FLUSHALL")
    async with asyncio.timeout(30):
        await night.keeper.recovery._reader.asked.wait()
    with pytest.raises(Unavailable):
        await night.crowd.join(event_id, "too-early")
    night.keeper.recovery._reader = reader
    await night.restored(event_id, generation)
    assert [name for name, _ in await night.members(event_id)] == names
    later = generation_of((await night.crowd.join(event_id, "later")).sequence or 0)
    # One more where nothing else happened; a machine that stands still for a lease's time has it restored once more.
    assert later == night.crowd.book.get(event_id).generation > generation


async def test_in_the_grace_time_positions_say_so_and_nobody_is_admitted(stack: Stack, event_id: str) -> None:
    async with night_at(stack, grace_s=3_600) as night:
        await night.fill(event_id, 5)
        await night.flushed(event_id)
        opened = await night.crowd.lines.open(event_id)
        place = await night.crowd.position(event_id, "u3")
        assert (place.status, place.position, place.recovering) == (Status.WAITING, 4, True)
        assert (await night.crowd.queue.board(event_id)).recovering
        while (owned := night.keeper.owner.get(event_id)) is None or owned.line.version < opened.version:
            async with night.keeper.owner.prepared.expect(1):
                pass
        assert owned.recovering
        async with night.keeper.admission.signals["admitted"].expect(5):
            owned.held_until = time.monotonic()
            night.keeper.admission.wake.set()
        assert not (await night.crowd.position(event_id, "u3")).recovering
        assert not (await night.crowd.store.board(night.crowd.book.get(event_id), 1)).recovering


class Away:
    """Kafka does not answer."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def read(self, since: object) -> Any:
        self.asked.set()
        raise Unavailable("Kafka is away")
