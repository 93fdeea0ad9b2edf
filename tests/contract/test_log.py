"""What a group has read and how far a topic goes, also while the broker is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from confluent_kafka import Producer, TopicPartition

from fairgate.errors import Unavailable
from fairgate.streams import log as module
from fairgate.streams.log import Log, Unread, has_passed
from fairgate.streams.settings import connection
from tests.conftest import Servers
from tests.servers import running_stack
from tests.support.ticketing import Broker

TOPIC, GROUP = "ticket-issue", "some-group"


async def test_ends_and_commits_are_told_and_a_broker_that_goes_away_takes_nobody_along(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ANSWER_S", 2.0)
    with running_stack(data_dir) as stack:
        log = Log(stack.config, GROUP)
        producer = Producer(connection(stack.config))
        for _ in range(10):
            producer.produce(TOPIC, "{}", partition=2)
        assert producer.flush(20) == 0

        ends = await log.ends(TOPIC)
        assert ends[2] == 10
        assert await log.committed(TOPIC, list(ends)) == {}
        assert not has_passed({}, ends)
        log._consumer.commit(offsets=[TopicPartition(TOPIC, 2, 10)], asynchronous=False)
        assert has_passed(await log.committed(TOPIC, list(ends)), ends)

        questions = [asyncio.create_task(ask_often(log)) for _ in range(3)]
        await asyncio.to_thread(stack.kafka.broker(1).kill)
        assert any(await asyncio.gather(*questions)), "the broker was away, so somebody was told so"
        await asyncio.to_thread(stack.kafka.broker(1).start)
        await asyncio.to_thread(stack.kafka.wait_ready)
        assert (await log.ends(TOPIC))[2] == 10
        await log.close()


async def ask_often(log: Log) -> int:
    """→ how many questions got no answer."""
    refused = 0
    for _ in range(2):
        try:
            await log.committed(TOPIC, range(6))
            await log.ends(TOPIC)
        except Unavailable:
            refused += 1
    return refused


@pytest.fixture
async def log(servers: Servers, topic_prefix: str) -> AsyncIterator[tuple[Log, str]]:
    """A group and a topic of its own."""
    broker = Broker(servers.config, topic_prefix)
    await broker.prepare()
    log = Log(servers.config, f"{topic_prefix}group")
    yield log, broker.names.ticket_issued
    await log.close()


def write(servers: Servers, topic: str, partition: int, *times_ms: int, transactional: bool = False) -> None:
    settings = {**connection(servers.config), "enable.idempotence": True}
    producer = Producer({**settings, "transactional.id": f"{topic}-writer"} if transactional else settings)
    if transactional:
        producer.init_transactions(30)
        producer.begin_transaction()
    for time_ms in times_ms:
        producer.produce(topic, "{}", partition=partition, timestamp=time_ms)
    if transactional:
        producer.commit_transaction(30)
    assert producer.flush(20) == 0


def commit(log: Log, topic: str, partition: int, offset: int) -> None:
    log._consumer.commit(offsets=[TopicPartition(topic, partition, offset)], asynchronous=False)


async def test_what_is_unread_is_counted_from_the_commit_with_the_time_of_the_oldest(
    servers: Servers, log: tuple[Log, str]
) -> None:
    reader, topic = log
    assert await reader.unread(topic) == {}
    await asyncio.to_thread(write, servers, topic, 0, 1_000_000, 2_000_000, 3_000_000)
    await asyncio.to_thread(write, servers, topic, 1, 4_000_000)
    assert await reader.unread(topic) == {0: Unread(3, 1_000_000), 1: Unread(1, 4_000_000)}
    commit(reader, topic, 0, 2)
    assert await reader.unread(topic) == {0: Unread(1, 3_000_000), 1: Unread(1, 4_000_000)}
    commit(reader, topic, 0, 3)
    commit(reader, topic, 1, 1)
    assert await reader.unread(topic) == {}


async def test_a_transaction_marker_behind_the_commit_is_nothing_unread(servers: Servers, log: tuple[Log, str]) -> None:
    reader, topic = log
    await asyncio.to_thread(write, servers, topic, 0, 1_000_000, 2_000_000, transactional=True)
    async with asyncio.timeout(20):  # a commit is answered before its markers are written
        end = 0
        while end != 3:  # two records and a marker
            end = (await reader.ends(topic))[0]
    commit(reader, topic, 0, 2)
    assert await reader.unread(topic) == {}
