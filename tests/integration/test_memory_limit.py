"""Valkey at its memory limit: nobody new is let in, nothing is evicted or half done, and the line drains."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from fairgate.domain.line import LineState
from fairgate.domain.place import Place, Status
from fairgate.errors import ValkeyFull
from fairgate.http.problems import render
from fairgate.local.supervisor import Stack
from tests.conftest import Servers
from tests.servers import own_stores
from tests.support.line import SIGNER
from tests.support.night import Night, night_at


@pytest.fixture(scope="module")
def stack(servers: Servers) -> Iterator[Stack]:
    """Stores of our own: they are filled."""
    with own_stores(servers.config) as stack:
        yield stack


@pytest.fixture
async def night(stack: Stack) -> AsyncIterator[Night]:
    async with night_at(stack) as night:
        yield night
        await night.crowd.store.channel.command("CONFIG", "SET", "maxmemory", "0")


async def fill_memory(night: Night) -> None:
    """As if the server had no byte left."""
    await night.crowd.store.channel.command("CONFIG", "SET", "maxmemory", "1")


async def joined_state(night: Night, event_id: str) -> dict[bytes, bytes]:
    """What a join could have changed: all but the bound, which admission shows there whenever it likes."""
    state = await night.crowd.store.channel.command("HGETALL", night.crowd.store.keys(event_id).state)
    state.pop(b"bound", None)
    return dict(state)


async def test_a_join_is_refused_with_a_problem_of_its_own_and_changes_nothing(night: Night, event_id: str) -> None:
    await night.fill(event_id, 50)
    before, state = await night.members(event_id), await joined_state(night, event_id)
    await fill_memory(night)
    with pytest.raises(ValkeyFull) as refused:
        await night.crowd.join(event_id, "too-late")
    answer = render(refused.value)
    assert answer.status == 503
    assert b'"type":"urn:fairgate:problem:valkey-full"' in answer.body
    assert (b"retry-after", b"5") in answer.headers
    assert await night.members(event_id) == before
    assert await joined_state(night, event_id) == state
    policy = await night.crowd.store.channel.command("CONFIG", "GET", "maxmemory-policy")
    assert policy[b"maxmemory-policy"] == b"noeviction"


async def test_who_waits_is_answered_leaves_and_is_admitted_meanwhile(night: Night, event_id: str) -> None:
    names = await night.fill(event_id, 20, rate=1_000, burst=1_000)
    await fill_memory(night)
    assert (await night.crowd.position(event_id, names[5])).position == 6
    assert (await night.crowd.queue.leave(event_id, names[19])).status is Status.LEFT
    async with night.keeper.admission.signals["admitted"].expect(19):
        await night.crowd.lines.open(event_id)
    assert await night.members(event_id) == []
    await night.all_journaled(event_id)


async def test_it_goes_on_by_itself_when_there_is_space_again(night: Night, event_id: str) -> None:
    await night.fill(event_id, 5)
    await fill_memory(night)
    for _ in range(3):
        with pytest.raises(ValkeyFull):
            await night.crowd.join(event_id, "patient")
    await night.crowd.store.channel.command("CONFIG", "SET", "maxmemory", "0")
    place: Place = await night.crowd.join(event_id, "patient")
    assert place.position == 6


async def test_a_shown_token_finds_no_room_either_and_stays_good(night: Night, event_id: str) -> None:
    await night.crowd.create(event_id, state=LineState.PAUSED)
    await night.journal.stop()
    lost = await night.crowd.join(event_id, "lost")
    await night.flushed(event_id)
    token = SIGNER.sign(event_id, "lost", lost.sequence or 0)
    await fill_memory(night)
    with pytest.raises(ValkeyFull):
        await night.crowd.join(event_id, "lost", token)
    await night.crowd.store.channel.command("CONFIG", "SET", "maxmemory", "0")
    assert (await night.crowd.join(event_id, "lost", token)).sequence == lost.sequence
