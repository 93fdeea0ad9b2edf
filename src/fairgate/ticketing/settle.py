"""The stage `ticket-issue` → `tickets` → `ticket-issued`. The head of the package explains it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from fairgate.config import Config
from fairgate.domain.ticket import Ticket
from fairgate.errors import Unavailable
from fairgate.failpoints import failpoint
from fairgate.lifecycle import Service
from fairgate.stores.database import Database
from fairgate.stores.leases import Slot
from fairgate.stores.tickets import DataRefused, Issued, Order, Outcome, TicketStore
from fairgate.streams.announcer import Announcer
from fairgate.streams.consumer import ConsumerBroken, GroupConsumer
from fairgate.streams.dead_letters import reader
from fairgate.streams.records import Batch, Record
from fairgate.streams.topic_ids import topic_id
from fairgate.streams.topics import Names
from fairgate.streams.transaction import Transactions, Unanswered
from fairgate.telemetry import DEAD_LETTERS, ISSUED, SETTLED
from fairgate.ticketing.conclude import Conclude, Judgement, Refused
from fairgate.ticketing.orders import orders_of
from fairgate.ticketing.progress import Progress
from fairgate.ticketing.publishing import Publishing, Round

GROUP = "ticket-processor-group"
TRANSACTIONAL_ID = "ticket-processor"

# Whatever came while the last batch was in SQL is the next one: one record on a quiet day, this many under lag (about
# 250 ms of SQL).
BATCH_MAX = 10_000
IDLE_S, PARKED_S = 0.5, 0.05
# SQL (20 s a statement) and Kafka (see transaction.py) are each bounded; a stop waits for the shorter of both.
FINISH_S = 8.0


class Settle(Service):
    """One member of the group. Signals, each per record and after the commit: `issued`, `announced_again`, `repeated`,
    `dead`, and `parked` each time that an admission is asked for in vain; `rewound` per start from what is committed.

    `leaves`: give the partitions back at the stop, instead of keeping them for the next process of this slot. `issued`
    is told of new tickets as soon as SQL has them, and must return at once.
    """

    name = "ticketing"
    idle_s = 0.0

    def __init__(
        self,
        config: Config,
        database: Database,
        slot: Slot,
        *,
        leaves: bool = False,
        issued: Callable[[Sequence[Ticket]], None] = lambda tickets: None,
    ) -> None:
        super().__init__()
        names = Names(config.topic_prefix)
        self._config, self._slot, self._leaves, self._issued = config, slot, leaves, issued
        self._source, self._target = names.ticket_issue, names.ticket_issued
        self._conclude = Conclude(self._target, reader(config, GROUP))
        self._store = TicketStore(database)
        self._consumer: GroupConsumer | None = None
        self._transactions: Transactions | Announcer | None = None
        self._topic_id, self._topic_id_as_of = "", -1
        self._batch: Batch | None = None
        self._metadata: Any = None
        self._publishing: Publishing | None = None
        self._progress = Progress()
        self._astray = False
        self.counts: Counter[str] = Counter()

    async def run_once(self) -> bool:
        """1 take a batch, 2 settle it in SQL, 3 conclude, 4 hand it over to the next transaction."""
        consumer, publishing = await self._ready()
        await self._room(publishing)
        try:
            batch = await self._take(consumer)
            records = self._progress.parked.due() + (batch.records if batch else [])
            if records:
                failpoint("ticketing.taken")
            judgements = await self._judge(records)
            self._issued([judgement.ticket for judgement in judgements if isinstance(judgement, Issued)])
            round_ = self._concluded(batch, records, judgements)
            if records:
                failpoint("ticketing.settled")
        except ConsumerBroken:
            await self._close()
            raise
        self._batch = None
        publishing.add(round_)
        return True

    def goes_well(self) -> None:
        """Tickets are made, and who is connected is told; but nothing gets to Kafka."""
        if self._publishing is not None and self._publishing.trouble is not None:
            self._note_failure(self._publishing.trouble)
        else:
            super().goes_well()

    async def teardown(self) -> None:
        """What is not committed somebody reads again."""
        await self._close()

    # ---- 0 ready

    async def _ready(self) -> tuple[GroupConsumer, Publishing]:
        slot = await self._slot.taken()
        if self._slot.lost:
            await self._close()
            raise Unavailable("another process has this slot: this one must be started again")
        prefix = self._config.topic_prefix
        if self._transactions is None:
            ways = Transactions if self._config.kafka_transactions else Announcer
            self._transactions = ways(self._config, f"{prefix}{TRANSACTIONAL_ID}-{slot}")
        if self._consumer is None:
            self._consumer = GroupConsumer(
                self._config,
                group=prefix + GROUP,
                topics=[self._source],
                slot=slot,
                commits=False,
                leaves=self._leaves,
            )
            await self._consumer.start()
        if self._astray:
            await self._start_over(self._consumer)
        if self._publishing is None:
            self._publishing = Publishing(self._consumer, self._transactions, self._count)
        self._publishing.begin()
        await self._know_the_topic(self._consumer)
        return self._consumer, self._publishing

    async def _know_the_topic(self, consumer: GroupConsumer) -> None:
        """A topic made anew comes with a rebalance."""
        if self._topic_id_as_of != consumer.rebalances or not self._topic_id:
            as_of = consumer.rebalances
            self._topic_id = await topic_id(self._config, self._source)
            self._topic_id_as_of = as_of

    async def _start_over(self, consumer: GroupConsumer) -> None:
        self._drop(consumer)
        await consumer.rewind()
        self._astray = False
        self.signals["rewound"].fire()

    def _drop(self, consumer: GroupConsumer) -> None:
        if self._batch is not None:
            consumer.done(self._batch)
        self._batch = None
        self._progress.forget()

    async def _room(self, publishing: Publishing) -> None:
        """Raises `Unanswered` where too much waits for Kafka; any other failure, and the next round starts over."""
        try:
            await publishing.room()
        except Unanswered:
            raise
        except Exception:
            publishing.drop()
            self._publishing, self._astray = None, True
            raise

    # ---- 1 take

    async def _take(self, consumer: GroupConsumer) -> Batch | None:
        """What is in hand since SQL failed, else something new; only what is still ours."""
        if self._batch is None:
            self._batch = await consumer.next_batch(BATCH_MAX, PARKED_S if len(self._progress.parked) else IDLE_S)
        else:
            consumer.take_up(self._batch)
            self._batch = self._batch.kept()
        self._progress.keep_only(consumer.owns)
        return self._batch

    # ---- 2 settle

    async def _judge(self, records: Sequence[Record]) -> list[Judgement]:
        """One outcome per record. While SQL does not answer, the batch stays in hand and nothing more is polled."""
        orders = orders_of(records, self._topic_id)
        try:
            settled = iter(await self._settle([order for order in orders if isinstance(order, Order)]))
        except Unavailable:
            self._wait_for_sql()
            raise
        if self._consumer is not None:
            self._consumer.resume()
        return [next(settled) if isinstance(order, Order) else order for order in orders]

    def _wait_for_sql(self) -> None:
        """Partitions are paused, these and what comes; a revocation need not wait for this batch."""
        if self._consumer is not None:
            self._consumer.pause()
            if self._batch is not None:
                self._consumer.done(self._batch)

    async def _settle(self, orders: Sequence[Order]) -> list[Outcome | Refused]:
        """Halved where the data of one record is refused, so that the others are not."""
        if not orders:
            return []
        try:
            return list(await self._store.settle(orders))
        except DataRefused as refused:
            if len(orders) == 1:
                return [Refused(str(refused))]
            middle = len(orders) // 2
            return await self._settle(orders[:middle]) + await self._settle(orders[middle:])

    # ---- 3 conclude

    def _concluded(self, batch: Batch | None, records: Sequence[Record], judgements: Sequence[Judgement]) -> Round:
        round_ = Round(batch)
        round_.messages = self._conclude.crowd(records, judgements) if not len(self._progress.parked) else []
        if round_.messages:
            round_.counts["issued"] = len(records)
        else:
            self._conclude_each(round_, records, judgements)
        if batch is not None:
            self._metadata = batch.group_metadata
            self._progress.concluded(batch)
        round_.positions, round_.claims = self._progress.to_commit()
        round_.metadata = self._metadata
        return round_

    def _conclude_each(self, round_: Round, records: Sequence[Record], judgements: Sequence[Judgement]) -> None:
        parked = self._progress.parked
        for record, judgement in zip(records, judgements, strict=True):
            conclusion = self._conclude(record, judgement, parked)
            round_.counts[conclusion.what] += 1
            if conclusion.message is not None:
                round_.messages.append(conclusion.message)
            if conclusion.reason is not None:
                round_.reasons[conclusion.reason] += 1
            if conclusion.what != "parked":
                parked.settled(record)

    # ---- 4 published

    def _count(self, round_: Round) -> None:
        self.counts.update(round_.counts)
        for what, count in round_.counts.items():
            self.signals[what].fire(count)
            if what != "parked":  # which is no end
                SETTLED.labels(outcome=what).inc(count)
        ISSUED.inc(round_.counts["issued"])
        for reason, count in round_.reasons.items():
            DEAD_LETTERS.labels(self._source, reason.value).inc(count)

    # ---- the end

    async def _close(self) -> None:
        """Finish the transaction under way, within a bound; drop the rest."""
        publishing, self._publishing = self._publishing, None
        if publishing is not None:
            await publishing.end(FINISH_S)
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            self._drop(consumer)
            await consumer.stop()
        transactions, self._transactions = self._transactions, None
        if transactions is not None:
            await transactions.close()
        self._astray = False
