"""Presence in Valkey: who is where, without the dead, and the way to tell them."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import pytest
import redis.asyncio

from fairgate.errors import Unavailable
from fairgate.stores import presence as module
from fairgate.stores.keys import LIVE_PROCESSES, live_users
from fairgate.stores.presence import Presence
from fairgate.stores.valkey import client
from tests.conftest import Servers

pytestmark = pytest.mark.asyncio


@pytest.fixture
async def valkey(servers: Servers) -> AsyncIterator[redis.asyncio.Redis]:
    connection = client(servers.valkey_url)
    yield connection
    await connection.aclose()


@pytest.fixture
def presence(valkey: redis.asyncio.Redis) -> Presence:
    return Presence(valkey)


@pytest.fixture
async def process(presence: Presence) -> AsyncIterator[str]:
    name = f"live-{uuid.uuid4().hex[:8]}"
    yield name
    await presence.leave(name)


async def test_a_user_is_found_at_every_process_with_a_socket_of_theirs(
    presence: Presence, process: str, user_id: str
) -> None:
    second = f"{process}-b"
    for name in (process, second):
        await presence.beat(name)
        await presence.change(name, [user_id], [])

    found = await presence.where(["nobody", user_id])

    assert {name: found[name] for name in (process, second)} == {process: [user_id], second: [user_id]}
    await presence.leave(second)
    assert second not in await presence.where([user_id])


async def test_in_a_crowd_too_each_is_found_where_they_are(presence: Presence, process: str, user_id: str) -> None:
    crowd = [f"{user_id}-{number}" for number in range(module.CROWD)]
    empty = f"{process}-empty"
    await presence.beat(empty)
    await presence.beat(process)
    await presence.change(process, crowd[3:7], [])

    found = await presence.where(crowd)

    assert found.get(process) == crowd[3:7] and empty not in found
    await presence.leave(empty)


async def test_who_went_away_is_not_found(presence: Presence, process: str, user_id: str) -> None:
    await presence.beat(process)
    await presence.change(process, [user_id], [])
    await presence.change(process, [], [user_id])

    assert process not in await presence.where([user_id])


async def test_a_process_without_heartbeat_is_not_asked_and_its_set_expires(
    presence: Presence, valkey: redis.asyncio.Redis, process: str, user_id: str
) -> None:
    await presence.beat(process)
    await presence.change(process, [user_id], [])
    await valkey.zincrby(LIVE_PROCESSES, -module.ALIVE_S - 1, process)

    assert process not in await presence.where([user_id])
    assert 0 < await valkey.ttl(live_users(process)) <= module.USERS_EXPIRE_S


async def test_a_beat_drops_long_dead_processes_from_the_list(
    presence: Presence, valkey: redis.asyncio.Redis, process: str
) -> None:
    dead = f"{process}-dead"
    await presence.beat(dead)
    await valkey.zincrby(LIVE_PROCESSES, -module.USERS_EXPIRE_S - 1, dead)

    await presence.beat(process)

    assert await valkey.zscore(LIVE_PROCESSES, dead) is None


async def test_a_beat_tells_that_the_set_was_wiped(
    presence: Presence, valkey: redis.asyncio.Redis, process: str, user_id: str
) -> None:
    await presence.change(process, [user_id, f"{user_id}-2"], [])
    assert await presence.beat(process) == 2
    await valkey.delete(live_users(process))

    assert await presence.beat(process) == 0


async def test_a_message_reaches_the_process_that_listens_and_no_other(presence: Presence, process: str) -> None:
    async with presence.listening(process) as ear, presence.listening(f"{process}-b") as other:
        told = await presence.tell([(process, b"hello"), (f"{process}-deaf", b"nobody")])

        assert told == 1
        assert await ear.hear(2.0) == "hello"
        assert await other.hear(0.05) is None


async def test_a_server_that_is_gone_is_unavailable(process: str) -> None:
    nowhere = Presence(client("redis://127.0.0.1:1/0"))
    with pytest.raises(Unavailable):
        await nowhere.where([process])
    with pytest.raises(Unavailable):
        await nowhere.beat(process)
