"""The parts of a group consumer that need no Kafka: claims, the hand-over, positions, settings, dead letters."""

from __future__ import annotations

import pytest

from fairgate.config import Config
from fairgate.streams import consumer, transaction
from fairgate.streams.handover import BATCH_BYTES, WAITING_BYTES, HandOver
from fairgate.streams.positions import Positions
from fairgate.streams.records import Batch, Headers, Ownership, Record

A, B = ("t", 0), ("t", 1)


def record(partition: int, offset: int, value: bytes | None = b"v") -> Record:
    return Record("t", partition, offset, b"k", value, [("ce_id", b"1")], 0)


@pytest.fixture
def ownership() -> Ownership:
    ownership = Ownership()
    ownership.take([A, B])
    return ownership


def batch(ownership: Ownership, *records: Record) -> Batch:
    return Batch(list(records), {r.where: ownership.token(r.where) or 0 for r in records}, "metadata", ownership)


class TestClaims:
    def test_a_batch_is_ours_until_one_of_its_partitions_goes(self, ownership: Ownership) -> None:
        both, first = batch(ownership, record(0, 1), record(1, 1)), batch(ownership, record(0, 2))
        ownership.drop([B])
        assert not both.still_ours and first.still_ours
        assert [r.where for r in both.kept().records] == [A]
        assert both.kept().still_ours

    def test_a_partition_that_comes_back_does_not_revive_old_claims(self, ownership: Ownership) -> None:
        old = batch(ownership, record(0, 1))
        ownership.drop([A])
        ownership.take([A])
        assert not old.still_ours and old.kept().records == []

    def test_a_rewind_ends_every_claim(self, ownership: Ownership) -> None:
        old = batch(ownership, record(0, 1))
        ownership.renew()
        assert not old.still_ours and sorted(ownership.owned()) == [A, B]

    def test_positions_are_the_offsets_after_the_last(self, ownership: Ownership) -> None:
        assert batch(ownership, record(0, 4), record(0, 5), record(1, 8)).positions == {A: 6, B: 9}


class TestHandOver:
    def test_batches_are_joined_in_order_up_to_the_bound(self, ownership: Ownership) -> None:
        hand_over = HandOver(high=10, low=5)
        for offset in range(0, 9, 3):
            hand_over.put(batch(ownership, *(record(0, offset + i) for i in range(3))))
        taken = hand_over.take(7)
        assert taken is not None and [r.offset for r in taken.records] == [0, 1, 2, 3, 4, 5]
        assert hand_over.records == 3
        rest = hand_over.take(2)
        assert rest is not None and [r.offset for r in rest.records] == [6, 7]
        assert hand_over.records == 1

    def test_what_is_not_ours_any_more_is_not_handed_over(self, ownership: Ownership) -> None:
        hand_over = HandOver(high=10, low=5)
        hand_over.put(batch(ownership, record(0, 0), record(1, 0)))
        hand_over.put(batch(ownership, record(0, 1)))
        ownership.drop([A])
        taken = hand_over.take(10)
        assert taken is not None and [r.where for r in taken.records] == [B]
        assert hand_over.take(10) is None and hand_over.records == 0

    def test_it_is_full_from_high_down_to_low(self, ownership: Ownership) -> None:
        hand_over = HandOver(high=3, low=2)
        hand_over.put(batch(ownership, record(0, 0), record(0, 1), record(0, 2)))
        assert hand_over.full(was_full=False)
        hand_over.take(1)
        assert hand_over.full(was_full=True) and not hand_over.full(was_full=False)

    def test_megabytes_fill_it_and_are_handed_over_some_at_a_time(self, ownership: Ownership) -> None:
        hand_over, count = HandOver(high=1_000, low=500), WAITING_BYTES // 2**20 + 10
        hand_over.put(batch(ownership, *(record(0, offset, b"x" * 2**20) for offset in range(count))))
        assert hand_over.full(was_full=False)
        offsets: list[int] = []
        while (taken := hand_over.take(1_000)) is not None:
            assert taken.size_bytes <= BATCH_BYTES
            offsets += [r.offset for r in taken.records]
        assert offsets == list(range(count))
        assert not hand_over.full(was_full=True) and (hand_over.records, hand_over.bytes) == (0, 0)

    def test_headers_fill_it_too_though_only_some_are_weighed(self, ownership: Ownership) -> None:
        weighed: list[int] = []

        def large(offset: int) -> Record:
            def headers() -> Headers:
                weighed.append(offset)
                return [("x", b"x" * 2**20)]

            return Record("t", 0, offset, b"k", b"v", headers, 0)

        count = WAITING_BYTES // 2**20 + 10
        whole = batch(ownership, *map(large, range(count)))
        assert count * 2**20 <= whole.size_bytes < 1.01 * count * 2**20 and len(weighed) <= 2
        hand_over = HandOver(high=1_000, low=500)
        hand_over.put(whole)
        assert hand_over.full(was_full=False)
        offsets: list[int] = []
        while (taken := hand_over.take(1_000)) is not None:
            assert taken.size_bytes <= BATCH_BYTES
            offsets += [r.offset for r in taken.records]
        assert offsets == list(range(count)) and (hand_over.records, hand_over.bytes) == (0, 0)

    def test_a_record_larger_than_a_batch_is_a_batch(self, ownership: Ownership) -> None:
        hand_over = HandOver(high=10, low=5)
        hand_over.put(batch(ownership, record(0, 0, b"x" * (BATCH_BYTES + 1)), record(0, 1)))
        first, second = hand_over.take(10), hand_over.take(10)
        assert first is not None and [r.offset for r in first.records] == [0]
        assert second is not None and [r.offset for r in second.records] == [1]

    def test_a_lot_is_in_hand_until_done_also_through_its_parts(self, ownership: Ownership) -> None:
        hand_over = HandOver(high=9, low=5)
        hand_over.put(batch(ownership, record(0, 0), record(1, 0)))
        taken = hand_over.take(9)
        assert taken is not None and hand_over.in_hand([B]) and not hand_over.in_hand([("t", 2)])
        ownership.drop([A])
        hand_over.done(taken.kept())
        assert not hand_over.in_hand([A, B])


class TestPositions:
    def test_a_quiet_end_behind_markers_may_be_committed(self) -> None:
        positions = Positions()
        positions.reached({A: 10})
        positions.ended(A, 11)
        assert positions.quiet_ends() == {}, "records are not committed yet"
        positions.committed({A: 10})
        assert positions.quiet_ends() == {A: 11}
        positions.committed({A: 11})
        assert positions.quiet_ends() == {}

    def test_an_end_is_quiet_where_nothing_was_polled(self) -> None:
        positions = Positions()
        positions.committed({A: 10})
        positions.ended(A, 12)
        assert positions.quiet_ends() == {A: 12}

    def test_an_older_end_moves_nothing_back(self) -> None:
        positions = Positions()
        positions.ended(A, 5)
        positions.reached({A: 9})
        positions.committed({A: 9})
        assert positions.quiet_ends() == {}

    def test_lag_is_what_is_not_committed(self) -> None:
        positions = Positions()
        positions.high(A, 30)
        positions.committed({A: 10})
        assert positions.lag([A, B]) == {A: 20, B: 0}


class TestSettings:
    CONFIG = Config(kafka_bootstrap="127.0.0.1:1")

    def test_the_classic_protocol_gets_what_the_requirements_say(self) -> None:
        settings = consumer.settings(self.CONFIG, "g", 3)
        assert settings["session.timeout.ms"] == 30_000
        assert settings["heartbeat.interval.ms"] == 3_000
        assert settings["max.poll.interval.ms"] == 300_000
        assert settings["partition.assignment.strategy"] == "cooperative-sticky"
        assert settings["group.instance.id"] == "g-3"
        assert settings["enable.auto.commit"] is settings["enable.auto.offset.store"] is False
        assert settings["auto.offset.reset"] == "earliest"
        assert settings["isolation.level"] == "read_committed"
        assert "group.protocol" not in settings

    def test_the_newer_protocol_gets_none_of_what_it_refuses(self) -> None:
        config = self.CONFIG.model_copy(update={"group_protocol": "consumer"})
        settings = consumer.settings(config, "g", 3)
        assert settings["group.protocol"] == "consumer" and settings["group.instance.id"] == "g-3"
        refused = {"session.timeout.ms", "heartbeat.interval.ms", "partition.assignment.strategy"}
        assert refused.isdisjoint(settings)
        assert "group.instance.id" not in consumer.settings(config, "g", 3, leaves=True)

    def test_a_transaction_that_hangs_blocks_readers_for_ten_seconds_at_most(self) -> None:
        settings = transaction.settings(self.CONFIG, "ticket-processor-0")
        assert settings["transaction.timeout.ms"] == 10_000
        assert settings["message.timeout.ms"] <= settings["transaction.timeout.ms"]
        assert settings["transactional.id"] == "ticket-processor-0"
        assert settings["partitioner"] == "murmur2_random" and settings["enable.idempotence"] is True
