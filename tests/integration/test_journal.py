"""Joins and leaves on their way through a line's journal to Kafka, on real servers."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest

from fairgate.config import Config
from fairgate.domain.line import Line, LineState
from fairgate.domain.place import Place
from fairgate.errors import Unavailable
from fairgate.outbox import journal as outbox_journal
from fairgate.stores.channel import Channel
from fairgate.stores.journal import Reached, Taken
from fairgate.stores.line import LineStore
from fairgate.stores.line_answers import NOWHERE
from fairgate.streams.producer import OrderedProducer
from fairgate.streams.topics import admin, apply
from tests.conftest import Servers
from tests.support.journal import journaling, ledger, records, until_empty
from tests.support.line import Fans, fans, gatekeeper


@pytest.fixture
async def config(servers: Servers, topic_prefix: str) -> Config:
    config = servers.config.model_copy(update={"topic_prefix": topic_prefix})
    await asyncio.to_thread(apply, admin(config), topic_prefix)
    return config


@pytest.fixture
async def crowd(servers: Servers) -> AsyncIterator[Fans]:
    async with (
        fans(servers.postgres_dsn, servers.valkey_url) as crowd,
        gatekeeper(servers.postgres_dsn, servers.valkey_url),
    ):
        yield crowd


class Refusing(OrderedProducer):
    """A real producer that nobody acknowledges until it is told so."""

    away = True
    asked = threading.Event()

    def all_acknowledged(self, within_s: float) -> bool:
        if Refusing.away:
            Refusing.asked.set()
            raise Unavailable("Kafka is away")
        return super().all_acknowledged(within_s)


async def join_all(crowd: Fans, event_id: str, names: list[str]) -> dict[str, int]:
    places = await asyncio.gather(*(crowd.join(event_id, name) for name in names))
    return {name: place.sequence or 0 for name, place in zip(names, places, strict=True)}


async def test_kafka_has_every_place_that_was_given_and_every_one_given_up(
    config: Config, crowd: Fans, event_id: str
) -> None:
    await crowd.create(event_id, state=LineState.PAUSED)
    given = await join_all(crowd, event_id, [f"u{i}" for i in range(1_500)])
    await asyncio.gather(*(crowd.queue.leave(event_id, f"u{i}") for i in range(100)))
    again = await join_all(crowd, event_id, [f"u{i}" for i in range(50)])
    async with journaling(config) as journal:
        await until_empty(journal, crowd.store, event_id)
    expected = {name: sequence for name, sequence in {**given, **again}.items() if int(name[1:]) not in range(50, 100)}
    assert (await ledger(config, event_id)).waiting({}, {}) == expected
    assert len({record.partition for record in await records(config, event_id)}) == 1


async def test_a_repeated_join_is_not_journaled_again(config: Config, crowd: Fans, event_id: str) -> None:
    await crowd.create(event_id, state=LineState.PAUSED)
    await crowd.join(event_id, "a")
    entries = await crowd.store.channel.command("XLEN", crowd.store.keys(event_id).journal)
    await crowd.join(event_id, "a")
    assert await crowd.store.channel.command("XLEN", crowd.store.keys(event_id).journal) == entries == 1


async def test_entries_stay_until_kafka_has_them(config: Config, crowd: Fans, event_id: str) -> None:
    await crowd.create(event_id, state=LineState.PAUSED)
    Refusing.away = True
    async with journaling(config, lambda: Refusing(config, "refusing")) as journal:
        given = await join_all(crowd, event_id, ["a", "b", "c"])
        assert await asyncio.to_thread(Refusing.asked.wait, 20)
        assert await crowd.store.channel.command("XLEN", crowd.store.keys(event_id).journal) > 0
        Refusing.away = False
        await until_empty(journal, crowd.store, event_id)
    assert (await ledger(config, event_id)).waiting({}, {}) == given


async def test_entries_of_a_line_that_was_being_recovered_go_without_another_notice(
    config: Config, crowd: Fans, event_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody may join again for long, and the only notice may come before this process knows the generation."""
    await crowd.create(event_id, state=LineState.PAUSED)
    async with journaling(config) as journal:
        await join_all(crowd, event_id, ["a"])
        await until_empty(journal, crowd.store, event_id)
        monkeypatch.setattr(outbox_journal, "SWEEP_S", 3_600.0)
        take, refused = journal._store.take, itertools.count()

        async def late(lines: Sequence[Line], reached: Mapping[str, Reached]) -> list[Taken]:
            ready = [line for line in lines if line.event_id != event_id or next(refused) >= 3]
            return await take(ready, reached)

        monkeypatch.setattr(journal._store, "take", late)
        async with journal.signals["journaled"].expect(1):
            given = await join_all(crowd, event_id, ["a", "b"])
    assert (await ledger(config, event_id)).waiting({}, {}) == given


async def test_who_leaves_does_not_wait_for_the_round_of_a_thousand_busy_lines(
    config: Config, crowd: Fans, event_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_journal, "LINE_S", 3_600.0)
    monkeypatch.setattr(outbox_journal, "ROUND_MAX_S", 3_600.0)
    other = f"{event_id}-other"

    for each in (event_id, other):
        await crowd.create(each, state=LineState.PAUSED)
    async with journaling(config) as journal:
        async with journal.signals["journaled"].expect(1):
            await join_all(crowd, event_id, ["a"])  # from now on the next round is an hour away
        await join_all(crowd, other, ["c"])
        async with journal.signals["journaled"].expect(1):
            await crowd.queue.leave(event_id, "a")
        assert (await ledger(config, other)).waiting({}, {}) == {}, "who joined waits for the round"
    assert (await ledger(config, event_id)).waiting({}, {}) == {}


async def test_a_journal_that_is_full_is_dropped_and_the_line_is_written_as_a_snapshot(
    config: Config, crowd: Fans, event_id: str
) -> None:
    """Kafka is away for long: joins go on, memory is bounded, and in the end the topic knows the whole line."""
    await crowd.create(event_id, state=LineState.PAUSED)
    small: Any = LineStore(Channel(config.valkey_url or ""), journal_max_bytes=4_096)
    line = crowd.book.get(event_id)
    given: dict[str, int] = {}
    for start in range(0, 3_000, 500):
        names = [f"u{i}" for i in range(start, start + 500)]
        answered = await small.join(line, names)
        given |= {name: place.sequence for name, place in zip(names, answered.places, strict=True)}
    assert answered.journal_id == NOWHERE
    assert await small.channel.command("XLEN", small.keys(event_id).journal) == 0
    left = await small.leave(line, "u7")
    assert isinstance(left.places[0], Place) and left.journal_id == NOWHERE
    del given["u7"]
    async with journaling(config) as journal:
        async with journal.signals["snapshots"].expect(1, within_s=30):
            journal.heard(event_id)
        await until_empty(journal, crowd.store, event_id)
        later = await join_all(crowd, event_id, ["later"])
        await until_empty(journal, crowd.store, event_id)
    await small.channel.close()
    journaled = await ledger(config, event_id)
    assert journaled.waiting({}, {}) == {**given, **later}
    assert journaled.marks({})[line.generation] == later["later"]
    kinds = [record.value["kind"] for record in await records(config, event_id)]
    assert {"gap", "snapshot", "joined"} <= set(kinds)
