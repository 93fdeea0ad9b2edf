"""The thread that owns a Kafka consumer. Everything here runs in it, except `ask`, `stop` and the plain attributes.

The protocol. The thread never waits for the work: what it polled goes into the hand-over, and when that is full the
partitions are paused while polling goes on, so that no slow database makes the group believe that we died. A batch
carries a claim on each of its partitions. At a revocation the thread lets work in hand finish for `REVOKE_S`, serving
commits meanwhile; then, and at once when partitions are lost or rewound, the claims end: `batch.still_ours` is False
and its effects must not be committed. Kafka gives a partition to the next member only after that.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from fairgate.failpoints import failpoint
from fairgate.streams.handover import HandOver
from fairgate.streams.kafka_log import kafka_log
from fairgate.streams.positions import Positions
from fairgate.streams.records import Batch, Ownership, Where, last_of_each, record_of

log = structlog.get_logger("fairgate.consumer")

# A command waits at most this long for the thread; an idle consumer wakes up 50 times a second (0.2 % of a core).
POLL_S = 0.02
CHUNK = 1_000
# Of the 60 s that a revocation may take. A Kafka transaction ends within 10.
REVOKE_S = 12.0
LEAVE_S, ANSWER_S, TICK_S = 3.0, 5.0, 1.0
# A consumer that got one of these never polls anything again; not all of them say that they are fatal.
FATAL = frozenset({KafkaError._FATAL, KafkaError.FENCED_INSTANCE_ID, KafkaError._FENCED})


class Poller(threading.Thread):
    """`arrived` is called for every hand-over and at the end. `failed` says why the thread ended by itself."""

    def __init__(
        self,
        settings: Mapping[str, Any],
        topics: Sequence[str],
        hand_over: HandOver,
        arrived: Callable[[], None],
        *,
        commits: bool,
        leaves: bool,
    ) -> None:
        self.group = str(settings["group.id"])
        super().__init__(name=f"consumer-{self.group}", daemon=True)
        self._settings, self._topics, self._hand_over, self._arrived = dict(settings), list(topics), hand_over, arrived
        self._commits, self._leaves = commits, leaves
        self.ownership, self.positions = Ownership(), Positions()
        self.failed: str | None = None
        self.ended = False
        self.rebalances = 0
        self.held = False
        self._commands: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._paused = self._stopping = False
        self._ticked_at = 0.0
        self._kafka: Any = None

    def ask(self, command: Callable[[], None]) -> None:
        """Run it in the thread, soon. It must not raise."""
        self._commands.put(command)

    def stop(self) -> None:
        self._stopping = True

    def run(self) -> None:
        try:
            self._kafka = Consumer(self._settings, logger=kafka_log)
            self._kafka.subscribe(self._topics, on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost)
            while not self._stopping:
                self._turn()
            self._leave()
        except Exception as error:
            self.failed = str(error)
            log.error("consumer ended", group=self.group, error=self.failed)
        finally:
            self._close()

    def _turn(self) -> None:
        self._serve_commands()
        self._pause_or_resume()
        first = self._kafka.poll(POLL_S)
        if first is not None:
            failpoint("consumer.polled")
            self._pass_on([first, *self._kafka.consume(CHUNK - 1, 0)])
        if time.monotonic() - self._ticked_at > TICK_S:
            self._ticked_at = time.monotonic()
            self._tick()

    def _serve_commands(self) -> None:
        while not self._commands.empty():
            self._commands.get()()

    def _pause_or_resume(self) -> None:
        wanted = self.held or self._hand_over.full(self._paused)
        if wanted != self._paused:
            (self._kafka.pause if wanted else self._kafka.resume)(self._kafka.assignment())
            self._paused = wanted

    def _pass_on(self, messages: list[Any]) -> None:
        failed = [message for message in messages if message.error() is not None]
        for message in failed:
            self._note(message.error(), message)
        if failed:
            messages = [message for message in messages if message.error() is None]
        records = [record_of(message) for message in messages]
        tokens = {where: self.ownership.token(where) for where in last_of_each(records)}
        claims = {where: token for where, token in tokens.items() if token is not None}
        if len(claims) < len(tokens):
            records = [record for record in records if record.where in claims]
        if records:
            metadata = None if self._commits else self._kafka.consumer_group_metadata()
            batch = Batch(records, claims, metadata, self.ownership)
            self.positions.reached(batch.positions)
            self._hand_over.put(batch)
            self._arrived()

    def _note(self, error: Any, message: Any) -> None:
        if error.code() == KafkaError._PARTITION_EOF:
            self.positions.ended((message.topic(), message.partition()), message.offset())
        elif error.fatal() or error.code() in FATAL:
            raise KafkaException(error)
        else:
            log.warning("consumer", group=self.group, error=error.str())

    # ---- on demand

    def commit(self, positions: Mapping[Where, int], claims: Mapping[Where, int]) -> None:
        """Those that are still ours under these claims. Raises `KafkaException`."""
        ours = {
            where: offset
            for where, offset in positions.items()
            if where in claims and self.ownership.token(where) == claims[where]
        }
        if ours:
            self._kafka.commit(offsets=_partitions(ours), asynchronous=False)
            self.positions.committed(ours)

    def committed(self, wheres: Sequence[Where], within_s: float = ANSWER_S) -> dict[Where, int]:
        """What the group has committed of these; 0 where nothing is. Raises `KafkaException`."""
        if not wheres:
            return {}
        found = self._kafka.committed([TopicPartition(*where) for where in wheres], timeout=within_s)
        return {_where(partition): max(partition.offset, 0) for partition in found}

    def rewind(self) -> None:
        """All claims end, and reading goes on from the committed offsets. Raises `KafkaException`: repeat it."""
        self._hand_over.clear()
        self.ownership.renew()
        self.positions.forget(self.ownership.owned())
        assignment = self._kafka.assignment()
        for partition in self._kafka.committed(assignment, timeout=ANSWER_S) if assignment else ():
            # Where nothing is committed yet the answer is a negative offset; -2 is the beginning.
            self._kafka.seek(TopicPartition(partition.topic, partition.partition, max(partition.offset, -2)))

    def _tick(self) -> None:
        """Once a second: commit what only looks like work left, and learn the lag."""
        owned = self.ownership.owned()
        try:
            if self._commits and (ends := self.positions.quiet_ends()):
                self.commit(ends, {where: self.ownership.token(where) or 0 for where in ends})
            self.positions.committed(self.committed(self.positions.unknown(owned), TICK_S))
            for where in owned:
                _, high = self._kafka.get_watermark_offsets(TopicPartition(*where), cached=True)
                self.positions.high(where, high)
        except KafkaException as error:
            if error.args[0].code() in FATAL:
                raise
            log.debug("consumer's tick", group=self.group, error=str(error))

    # ---- rebalances: called by poll, consume and close

    def _assigned(self, consumer: Any, partitions: list[Any]) -> None:
        consumer.incremental_assign(partitions)
        if self._paused and partitions:
            consumer.pause(partitions)
        self.ownership.take(map(_where, partitions))
        self._rebalanced("assigned", partitions)

    def _revoked(self, consumer: Any, partitions: list[Any]) -> None:
        wheres = list(map(_where, partitions))
        until = time.monotonic() + REVOKE_S
        while self._hand_over.in_hand(wheres) and time.monotonic() < until:
            self._serve_commands()
            time.sleep(0.002)
        self._end_claims(wheres)
        consumer.incremental_unassign(partitions)
        self._rebalanced("revoked", partitions)

    def _lost(self, consumer: Any, partitions: list[Any]) -> None:
        self._end_claims(list(map(_where, partitions)))
        consumer.incremental_unassign(partitions)
        self._rebalanced("lost", partitions)

    def _end_claims(self, partitions: list[Where]) -> None:
        self.ownership.drop(partitions)
        self.positions.forget(partitions)

    def _rebalanced(self, how: str, partitions: list[Any]) -> None:
        if partitions:
            self.rebalances += 1
            names = [f"{partition.topic}-{partition.partition}" for partition in partitions]
            log.info(f"partitions {how}", group=self.group, partitions=names)

    # ---- the end

    def _leave(self) -> None:
        """A static member stays in the group when it closes, but not when it unsubscribes before."""
        if not self._leaves:
            return
        self._kafka.unsubscribe()
        until = time.monotonic() + LEAVE_S
        while self._kafka.assignment() and time.monotonic() < until:
            self._kafka.poll(POLL_S)
        self._kafka.poll(10 * POLL_S)

    def _close(self) -> None:
        try:
            if self._kafka is not None:
                self._kafka.close()
        except Exception as error:
            log.warning("consumer did not close", group=self.group, error=str(error))
        finally:
            self.ownership.drop(self.ownership.owned())
            self.ended = True
            self._arrived()


def _where(partition: Any) -> Where:
    return partition.topic, partition.partition


def _partitions(positions: Mapping[Where, int]) -> list[Any]:
    return [TopicPartition(topic, partition, offset) for (topic, partition), offset in positions.items()]
