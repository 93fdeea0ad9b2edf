"""Records and offsets in one Kafka transaction, in a thread of its own.

The protocol. One `transactional.id` per slot: starting it ends whatever a former process of that slot left open, and
locks that process out. A transaction that failed cleanly is aborted and the producer goes on. After anything that may
have happened or not (a commit that timed out, a call that does not come back) the producer is thrown away: the next
one's start decides it, and what is read again is what was not committed.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog
from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition

from fairgate.config import Config
from fairgate.errors import Unavailable
from fairgate.failpoints import failpoint
from fairgate.streams.kafka_log import kafka_log
from fairgate.streams.producer import LINGER_MS
from fairgate.streams.records import Sendable, Where
from fairgate.streams.settings import connection
from fairgate.streams.worker import Worker

log = structlog.get_logger("fairgate.transactions")

# An open transaction blocks every reader of its partitions, so it may not last.
TRANSACTION_S = 10.0
INIT_S, OFFSETS_S, COMMIT_S, ABORT_S, BUFFER_S = 10.0, 5.0, 8.0, 5.0, 5.0
# A transaction takes 40 ms, and one that is given up is only repeated. Orphans must be back within 10 s (I8).
GIVE_UP_S = 6.0


class TransactionFailed(Unavailable):
    """Nothing of it is visible, or the next start decides: rewind, and do it again."""

    kind, title = "transaction-failed", "The Kafka transaction failed"


class Unanswered(TransactionFailed):
    """Kafka did not answer, or nobody coordinates just now. Once the next start has decided it, the same may be tried
    again by who still owns what it commits.
    """


# Not about what was asked: somebody is away, or does not know its part yet.
_NOBODY_THERE = frozenset(
    {
        KafkaError._TIMED_OUT,
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.NOT_COORDINATOR,
    }
)


def settings(config: Config, transactional_id: str) -> dict[str, Any]:
    return {
        **connection(config),
        "client.id": transactional_id,
        "transactional.id": transactional_id,
        "transaction.timeout.ms": int(TRANSACTION_S * 1000),
        "message.timeout.ms": int(COMMIT_S * 1000),
        "enable.idempotence": True,
        "acks": "all",
        "partitioner": "murmur2_random",  # Java's and kafkajs' choice: the same key, the same partition
        "compression.type": "none",  # kafkajs reads no LZ4 without a plug-in
        "linger.ms": LINGER_MS,
        # Back to back, a transaction waits for the former one's markers by retrying: 100 ms make 112 of it, 5 make 37.
        "retry.backoff.ms": 5,
        "retry.backoff.max.ms": 500,
        "socket.timeout.ms": 6_000,
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 1_000,
        "delivery.report.only.error": True,
    }


class Transactions:
    """One at a time. `transactional_id` with its prefix, and of nobody else who lives."""

    commits = True  # the offsets are part of it

    def __init__(self, config: Config, transactional_id: str) -> None:
        self._settings = settings(config, transactional_id)
        self._id = transactional_id
        self._worker = Worker(transactional_id)
        self._producer: Any = None

    @property
    def open(self) -> bool:
        return self._producer is not None

    async def start(self) -> None:
        """Initialise, unless it is; the former process of this slot is locked out. Raises `Unavailable`: repeat it."""
        await self._in_thread(self._start, within_s=INIT_S + 2.0)

    async def publish(
        self,
        messages: Sequence[Sendable],
        positions: Mapping[Where, int],
        group_metadata: Any,
        still_ours: Callable[[], bool],
    ) -> None:
        """All of it becomes visible and committed, or nothing. `group_metadata` is the batch's own; `still_ours` is
        asked once everything is sent. Raises `TransactionFailed` or `Unanswered` (see there) after at most `GIVE_UP_S`.
        """
        await self._in_thread(self._publish, messages, positions, group_metadata, still_ours)

    async def close(self) -> None:
        """Nothing may be under way."""
        await self._in_thread(self._throw_away, self._producer)
        self._worker.end()

    async def _in_thread(self, work: Callable[..., None], *arguments: Any, within_s: float = GIVE_UP_S) -> None:
        try:
            await self._worker.do(work, *arguments, within_s=within_s)
        except TimeoutError as error:
            self._worker.end()
            self._worker, self._producer = Worker(self._id), None
            log.warning("a call of Kafka's client does not come back; going on with a new producer", id=self._id)
            raise Unanswered("Kafka did not answer in time") from error

    # ---- in the thread

    def _start(self) -> None:
        if self._producer is not None:
            return
        try:
            producer = Producer(self._settings, logger=kafka_log)
            producer.init_transactions(INIT_S)
        except KafkaException as error:
            raise Unavailable(f"Kafka: {error.args[0].str()}") from error
        self._producer = producer
        log.info("transactions can begin", id=self._id)

    def _publish(
        self,
        messages: Sequence[Sendable],
        positions: Mapping[Where, int],
        group_metadata: Any,
        still_ours: Callable[[], bool],
    ) -> None:
        producer = self._producer
        if producer is None:
            raise TransactionFailed("the producer is not started")
        offsets = [TopicPartition(topic, partition, offset) for (topic, partition), offset in positions.items()]
        try:
            producer.begin_transaction()
            for message in messages:
                self._produce(producer, message)
                failpoint("transaction.sent_one")
            producer.flush(COMMIT_S)
            failpoint("transaction.sent")
            if not still_ours():
                self._abort(producer)
                raise TransactionFailed("the partitions went to somebody else")
            if self._producer is not producer:
                raise Unanswered("given up meanwhile")
            if offsets:
                producer.send_offsets_to_transaction(offsets, group_metadata, OFFSETS_S)
            failpoint("transaction.offsets")
            producer.commit_transaction(COMMIT_S)
            failpoint("transaction.committed")
        except KafkaException as error:
            why = error.args[0]
            if why.txn_requires_abort():
                self._abort(producer)
            else:
                self._throw_away(producer)
            failed = Unanswered if why.code() in _NOBODY_THERE else TransactionFailed
            raise failed(f"Kafka: {why.str()}") from error
        except TransactionFailed:
            raise
        except Exception:  # a mistake of ours must not leave a transaction open
            self._throw_away(producer)
            raise

    def _produce(self, producer: Any, message: Sendable) -> None:
        record, headers = (message.topic, message.value, message.key), message.headers
        until = time.monotonic() + BUFFER_S
        while True:
            try:
                producer.produce(*record, headers=headers)
            except BufferError as error:
                if time.monotonic() > until:
                    self._throw_away(producer)
                    raise TransactionFailed("Kafka does not take what is sent") from error
                producer.poll(0.05)
            else:
                return

    def _abort(self, producer: Any) -> None:
        try:
            producer.abort_transaction(ABORT_S)
        except KafkaException as error:
            log.warning("abort failed", id=self._id, error=error.args[0].str())
            self._throw_away(producer)

    def _throw_away(self, producer: Any) -> None:
        if self._producer is producer:
            self._producer = None
        if producer is not None:
            # Its end may wait for a broker that does not answer; nobody should wait for that.
            threading.Thread(target=_end, args=(producer,), name=f"{self._id}-end", daemon=True).start()


def _end(producer: Any) -> None:
    with contextlib.suppress(KafkaException):  # a producer that is fenced says so once more
        producer.purge()
        producer.flush(1.0)
