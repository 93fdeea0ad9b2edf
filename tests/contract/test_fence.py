"""A Valkey that was restarted or wiped is noticed before it can answer wrongly."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fairgate.domain.line import LineState, generation_of
from fairgate.errors import StaleGeneration, Unavailable
from fairgate.local.supervisor import Stack
from fairgate.streams.journal import JournalReader
from tests.conftest import Servers
from tests.servers import own_stores
from tests.support.line import Fans, Gatekeeper, fans


@pytest.fixture
def stack(servers: Servers) -> Iterator[Stack]:
    with own_stores(servers.config) as stack:
        yield stack


def addresses(stack: Stack) -> tuple[str, str]:
    assert stack.config.postgres_dsn is not None and stack.config.valkey_url is not None
    return stack.config.postgres_dsn.get_secret_value(), stack.config.valkey_url


async def recovered(crowd: Fans, keeper: Gatekeeper, event_id: str, generation: int) -> None:
    """Until the owner has begun the next generation."""
    while crowd.book.get(event_id).generation == generation:
        async with crowd.book.signals["changed"].expect(1, within_s=30):
            pass
    await crowd.until_ready(event_id)


async def test_no_sequence_is_given_twice_over_restarts_and_a_wipe(stack: Stack, event_id: str) -> None:
    dsn, url = addresses(stack)
    async with fans(dsn, url) as crowd:
        keeper = Gatekeeper(dsn, url, journal=JournalReader(stack.config))
        await keeper.start()
        try:
            await crowd.create(event_id, state=LineState.PAUSED)
            first = await crowd.join(event_id, "a")
            generation = crowd.book.get(event_id).generation

            stack.valkey.child.kill()
            with pytest.raises(Unavailable):
                await crowd.join(event_id, "b")
            stack.valkey.start()
            await recovered(crowd, keeper, event_id, generation)
            second = await crowd.join(event_id, "b")
            assert generation_of(second.sequence or 0) > generation_of(first.sequence or 0)
            assert (await crowd.join(event_id, "a")).sequence == first.sequence

            generation = crowd.book.get(event_id).generation
            await crowd.store.channel.command("FLUSHALL")
            with pytest.raises(StaleGeneration):
                await crowd.store.join(crowd.book.get(event_id), ["c"])
            keeper.admission.wake.set()
            await recovered(crowd, keeper, event_id, generation)
            third = await crowd.join(event_id, "c")
            assert (third.sequence or 0) > (second.sequence or 0)
        finally:
            await keeper.stop()
