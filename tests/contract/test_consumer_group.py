"""What a group consumer promises, on a real Kafka, for both group protocols."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from fairgate.streams import consumer as bounds
from fairgate.streams.consumer import ConsumerBroken, GroupConsumer
from fairgate.streams.dead_letters import Message
from fairgate.streams.records import Batch
from fairgate.streams.transaction import TransactionFailed, Transactions
from tests.conftest import Servers
from tests.support.ticketing import Broker

GROUP = "readers"
WITHIN_S = 30.0


@pytest.fixture
async def broker(servers: Servers, topic_prefix: str) -> Broker:
    broker = Broker(servers.config, topic_prefix)
    await broker.prepare()
    return broker


@pytest.fixture(params=["classic", "consumer"])
def either(broker: Broker, request: pytest.FixtureRequest) -> Broker:
    """The same broker, by each group protocol."""
    broker.config = broker.config.model_copy(update={"group_protocol": request.param})
    return broker


@asynccontextmanager
async def reading(broker: Broker, slot: int = 0, **how: Any) -> AsyncIterator[GroupConsumer]:
    how.setdefault("leaves", True)
    topic = how.pop("topic", broker.names.ticket_issue)
    reader = GroupConsumer(broker.config, group=broker.config.topic_prefix + GROUP, topics=[topic], slot=slot, **how)
    await reader.start()
    try:
        yield reader
    finally:
        await reader.stop()


async def take(reader: GroupConsumer, count: int, commit: bool = True) -> list[str]:
    """At least so many values; committed batch by batch."""
    values: list[str] = []
    async with asyncio.timeout(WITHIN_S):
        while len(values) < count:
            batch = await reader.next_batch()
            if batch is None:
                continue
            values += [(record.value or b"").decode() for record in batch.records]
            if commit:
                await reader.commit(batch)
            else:
                reader.done(batch)
    return values


async def eventually(true: Callable[[], bool]) -> None:
    """For what the consumer's thread notes once in a while and tells nobody."""
    async with asyncio.timeout(WITHIN_S):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.05)


def numbered(count: int, first: int = 0) -> list[tuple[str, str]]:
    return [(f"k{i % 40}", str(i)) for i in range(first, first + count)]


async def assigned(reader: GroupConsumer, *, at_least: int = 1, at_most: int = 6) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not at_least <= len(reader.assignment) <= at_most:
            await reader.next_batch(1, 0.05)


async def test_everything_is_read_once_in_the_order_of_each_key(either: Broker) -> None:
    sent = numbered(3_000)
    await either.send(either.names.ticket_issue, sent)
    async with reading(either) as reader:
        values = await take(reader, 3_000)
        assert sorted(map(int, values)) == list(range(3_000))
        for rest in range(40):
            of_key = [int(value) for value in values if int(value) % 40 == rest]
            assert of_key == sorted(of_key)


async def test_who_comes_back_goes_on_behind_what_was_committed(either: Broker) -> None:
    await either.send(either.names.ticket_issue, numbered(100))
    async with reading(either) as reader:
        await take(reader, 100)
    await either.send(either.names.ticket_issue, numbered(50, first=100))
    async with reading(either) as reader:
        assert sorted(map(int, await take(reader, 50))) == list(range(100, 150))
    async with reading(either) as reader:
        assert await reader.next_batch(within_s=2.0) is None


async def test_what_was_not_committed_is_read_again(either: Broker) -> None:
    await either.send(either.names.ticket_issue, numbered(60))
    async with reading(either) as reader:
        await take(reader, 60, commit=False)
    async with reading(either) as reader:
        assert sorted(map(int, await take(reader, 60))) == list(range(60))


async def test_a_rewind_reads_again_from_the_committed_offsets_and_ends_old_claims(either: Broker) -> None:
    await either.send(either.names.ticket_issue, numbered(60))
    async with reading(either) as reader:
        await take(reader, 60)
        await either.send(either.names.ticket_issue, numbered(60, first=60))
        batch = await _next(reader)
        await reader.rewind()
        assert not batch.still_ours
        await reader.commit(batch)  # too late: nothing is committed by it
        assert sorted(map(int, await take(reader, 60))) == list(range(60, 120))


async def test_a_second_member_takes_its_share_and_gives_it_back(either: Broker) -> None:
    topic = either.names.ticket_issue
    seen: Counter[str] = Counter()
    async with reading(either) as one:
        await assigned(one, at_least=6)
        async with reading(either, slot=1) as two:
            await asyncio.gather(assigned(one, at_most=3), assigned(two, at_least=3))
            await either.send(topic, numbered(600))
            from_one, from_two = await _share(one, two, 600)
            assert from_one and from_two
            seen.update(from_one + from_two)
        await assigned(one, at_least=6)
        await either.send(topic, numbered(60, first=600))
        seen.update(await take(one, 60))
    assert seen == Counter(str(i) for i in range(660))


async def test_a_revocation_waits_for_the_work_in_hand(either: Broker) -> None:
    await either.send(either.names.ticket_issue, numbered(400))
    async with reading(either) as one:
        batch = await _next(one, 400)
        async with reading(either, slot=1) as two:
            await asyncio.sleep(3.0)  # the other one asks for its share meanwhile
            assert not two.assignment, "partitions moved under work in hand"
            assert batch.still_ours
            await one.commit(batch)
            await asyncio.gather(assigned(one, at_most=3), assigned(two, at_least=3))
            assert await two.next_batch(within_s=1.0) is None, "committed work was done again"


async def test_after_the_bound_a_revocation_goes_on_and_the_batch_is_not_ours(
    either: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fairgate.streams.polling.REVOKE_S", 0.5)
    await either.send(either.names.ticket_issue, numbered(400))
    async with reading(either) as one:
        batch = await _next(one, 400)
        async with reading(either, slot=1) as two:
            again = await _next(two)
            assert not batch.still_ours
            kept = batch.kept()
            assert kept.still_ours and {r.where for r in kept.records}.isdisjoint({r.where for r in again.records})
            two.done(again)
        one.done(batch)


async def test_a_full_hand_over_pauses_and_loses_nothing(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "HIGH", 2_000)
    monkeypatch.setattr(bounds, "LOW", 500)
    await broker.send(broker.names.ticket_issue, numbered(12_000))
    async with reading(broker) as reader:
        await eventually(lambda: reader.backlog >= 2_000)
        await asyncio.sleep(0.5)
        assert reader.backlog < 2_000 + 1_000
        values = await take(reader, 12_000)
    assert sorted(map(int, values)) == list(range(12_000))


async def test_a_paused_consumer_hands_nothing_over_and_stays_in_the_group(broker: Broker) -> None:
    async with reading(broker) as reader:
        await assigned(reader, at_least=6)
        reader.pause()
        await asyncio.sleep(0.1)
        await broker.send(broker.names.ticket_issue, numbered(10))
        assert await reader.next_batch(within_s=1.0) is None
        reader.resume()
        assert len(await take(reader, 10)) == 10


async def test_transaction_markers_do_not_look_like_work_left(broker: Broker) -> None:
    """Every transaction ends with a marker that takes an offset but is no record."""
    topic = broker.names.ticket_issued
    transactions = Transactions(broker.config, f"{topic}-marker")
    await transactions.start()
    async with reading(broker, topic=topic) as reader:
        for n in range(3):
            messages = [Message(topic, f"k{i}", str(n), []) for i in range(30)]
            await transactions.publish(messages, {}, None, lambda: True)
            await take(reader, 30)
        async with asyncio.timeout(WITHIN_S):
            while sum((await broker.committed(GROUP, topic)).values()) < 3 * 30 + 3 * 6:
                await reader.next_batch(within_s=0.2)
        await eventually(lambda: not sum(reader.lag().values()))
    await transactions.close()


async def test_lag_counts_what_is_not_committed(broker: Broker) -> None:
    await broker.send(broker.names.ticket_issue, numbered(100))
    async with reading(broker) as reader:
        await take(reader, 100, commit=False)
        await eventually(lambda: sum(reader.lag().values()) == 100)


async def test_a_broken_consumer_says_so_instead_of_hanging(broker: Broker) -> None:
    """The classic protocol lets the newer process of a slot in, and tells the older one that it is out."""
    broker.config = broker.config.model_copy(update={"group_protocol": "classic"})
    async with reading(broker, leaves=False) as old:
        await assigned(old, at_least=6)
        async with reading(broker) as new:
            await assigned(new, at_least=6)
            with pytest.raises(ConsumerBroken):
                async with asyncio.timeout(WITHIN_S):
                    while True:
                        await old.next_batch(within_s=0.2)
            with pytest.raises(ConsumerBroken):
                await old.rewind()


class TestTransactions:
    async def test_records_and_offsets_become_visible_together(self, either: Broker) -> None:
        source, target = either.names.ticket_issue, either.names.ticket_issued
        await either.send(source, numbered(30))
        transactions = Transactions(either.config, f"{source}-copy")
        await transactions.start()
        async with reading(either, commits=False) as reader:
            batch = await _next(reader, 30)
            copies = [Message(target, record.key, record.value, []) for record in batch.records]
            with pytest.raises(TransactionFailed):
                await transactions.publish(copies, batch.positions, batch.group_metadata, lambda: False)
            assert await either.read(target) == []
            await transactions.publish(copies, batch.positions, batch.group_metadata, lambda: batch.still_ours)
            reader.done(batch)
        assert len(await either.read(target)) == 30
        assert sum(offset for offset in (await either.committed(GROUP, source)).values() if offset > 0) == 30
        await transactions.close()

    async def test_a_newer_process_of_the_slot_locks_the_older_one_out(self, broker: Broker) -> None:
        name = f"{broker.names.ticket_issue}-slot"
        old, new = Transactions(broker.config, name), Transactions(broker.config, name)
        target = broker.names.ticket_issued
        await old.start()
        await old.publish([Message(target, "k", "old", [])], {}, None, lambda: True)
        await new.start()
        with pytest.raises(TransactionFailed):
            await old.publish([Message(target, "k", "too late", [])], {}, None, lambda: True)
        assert not old.open
        await new.publish([Message(target, "k", "new", [])], {}, None, lambda: True)
        assert [message.value() for message in await broker.read(target)] == [b"old", b"new"]
        await asyncio.gather(old.close(), new.close())

    async def test_metadata_of_a_former_generation_commits_nothing(self, either: Broker) -> None:
        source = either.names.ticket_issue
        await either.send(source, numbered(60))
        transactions = Transactions(either.config, f"{source}-stale")
        await transactions.start()
        async with reading(either, commits=False) as one:
            batch = await _next(one, 60)
            one.done(batch)  # nobody waits for it at the revocation
            async with reading(either, slot=1, commits=False) as two:
                await asyncio.gather(assigned(one, at_most=3), assigned(two, at_least=3))
                with pytest.raises(TransactionFailed):
                    await transactions.publish([], batch.positions, batch.group_metadata, lambda: True)
        assert set((await either.committed(GROUP, source)).values()) == {-1001}
        await transactions.close()


async def _next(reader: GroupConsumer, count: int = 1) -> Batch:
    """One batch of at least so many records."""
    taken: Batch | None = None
    async with asyncio.timeout(WITHIN_S):
        while taken is None or len(taken) < count:
            if taken is not None:
                await asyncio.sleep(0.2)
                reader.done(taken)
                await reader.rewind()
            taken = await reader.next_batch() or taken
            if taken is not None and not taken.still_ours:
                taken = None
    return taken


async def _share(one: GroupConsumer, two: GroupConsumer, count: int) -> tuple[list[str], list[str]]:
    shares: tuple[list[str], list[str]] = ([], [])

    async def collect(reader: GroupConsumer, into: list[str]) -> None:
        while len(shares[0]) + len(shares[1]) < count:
            batch = await reader.next_batch(within_s=0.2)
            if batch is not None:
                into.extend(_values(batch))
                await reader.commit(batch)

    async with asyncio.timeout(WITHIN_S):
        await asyncio.gather(collect(one, shares[0]), collect(two, shares[1]))
    return shares


def _values(batch: Batch) -> Sequence[str]:
    return [(record.value or b"").decode() for record in batch.records]
