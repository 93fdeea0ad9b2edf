"""What the channel to Valkey promises: answers in order, whole and once; and an end to every wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from fairgate.errors import Unavailable
from fairgate.local.supervisor import Stack
from fairgate.stores import channel as channels
from fairgate.stores.channel import Channel
from tests.conftest import Servers
from tests.servers import own_stores


@pytest.fixture(scope="module")
def stack(servers: Servers) -> Iterator[Stack]:
    """Of its own: it is frozen and killed."""
    with own_stores(servers.config) as stack:
        yield stack


@pytest.fixture
async def channel(stack: Stack) -> AsyncIterator[Channel]:
    assert stack.config.valkey_url is not None
    channel = Channel(stack.config.valkey_url)
    await channel.connect()
    yield channel
    await channel.close()


async def test_answers_come_to_their_calls_also_in_many_pieces(channel: Channel) -> None:
    words = ["x" * (1 + 977 * n) for n in range(60)]
    calls = [channel.command("ECHO", word) for word in words]
    assert [answer.decode() for answer in await asyncio.gather(*calls)] == words


async def test_after_a_call_that_was_given_up_the_next_gets_its_own_answer(channel: Channel) -> None:
    first = asyncio.create_task(channel.command("ECHO", "first"))
    await asyncio.sleep(0)
    first.cancel()
    assert await channel.command("ECHO", "second") == b"second"


async def test_a_refusal_is_that_of_its_call_alone(channel: Channel) -> None:
    answers = await asyncio.gather(
        channel.command("ECHO", "a"), channel.command("NOSUCH"), channel.command("ECHO", "b"), return_exceptions=True
    )
    assert (answers[0], answers[2]) == (b"a", b"b") and isinstance(answers[1], Unavailable)


async def test_a_server_that_does_not_answer_ends_every_wait_and_is_asked_again_by_a_new_connection(
    stack: Stack, channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channels, "ANSWER_S", 0.5)
    await channel.command("CLIENT", "PAUSE", 3_000, "ALL")
    asked = await asyncio.gather(*(channel.command("ECHO", n) for n in range(3)), return_exceptions=True)
    assert all(isinstance(answer, Unavailable) for answer in asked) and not channel.connected
    monkeypatch.undo()
    await channel.connect()
    assert await channel.command("ECHO", "again") == b"again"


async def test_a_server_that_dies_ends_every_wait(stack: Stack, channel: Channel) -> None:
    await channel.command("CLIENT", "PAUSE", 60_000, "ALL")
    asked = asyncio.gather(*(channel.command("ECHO", n) for n in range(3)), return_exceptions=True)
    await asyncio.sleep(0)
    stack.valkey.child.kill()
    assert all(isinstance(answer, Unavailable) for answer in await asked) and not channel.connected
    with pytest.raises(Unavailable):
        await channel.connect()
    stack.valkey.start()
    await channel.connect()
    assert await channel.command("ECHO", "back") == b"back"
