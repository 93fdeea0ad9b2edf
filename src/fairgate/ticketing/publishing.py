"""What is settled, on its way to Kafka: one transaction after the other, each with all that came meanwhile.

A transaction back to back with the last waits for the markers of that one, whatever its size: so the busier it is, the
more goes together, and settling never waits for Kafka but where too much has gathered.

A transaction that Kafka did not answer is in doubt: it came through, or nothing of it did. The next producer's start
decides that, the committed offsets tell, and what did not come through goes again, while settling goes on. Any other
failure ends this object: whoever settles starts over from the committed offsets.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog

from fairgate.errors import Unavailable
from fairgate.streams.announcer import Announcer
from fairgate.streams.consumer import ConsumerBroken, GroupConsumer
from fairgate.streams.dead_letters import Reason
from fairgate.streams.records import Batch, Sendable, Where
from fairgate.streams.transaction import TransactionFailed, Transactions, Unanswered

log = structlog.get_logger("fairgate.ticketing")

# Records that are settled and not yet in a transaction: as many as a batch has at most.
GATHERED_MAX = 10_000
# A transaction costs the brokers some 60 requests, however many records it has: the more the last one had, the longer
# the next one gathers. A quiet day waits for nothing; 2,000 a second and more go in two a second.
GATHER_S, GATHER_S_PER_RECORD = 0.4, 0.0005
# Between two tries while Kafka does not answer; each try waits for it on its own.
REST_S = 0.2


class Round:
    """What one batch, with the parked records, comes to."""

    def __init__(self, batch: Batch | None) -> None:
        self.batch = batch
        self.records = len(batch) if batch is not None else 0
        self.messages: list[Sendable] = []
        self.positions: dict[Where, int] = {}
        self.claims: dict[Where, int] = {}
        self.metadata: Any = None
        self.counts: Counter[str] = Counter()
        self.reasons: Counter[Reason] = Counter()


class Publishing:
    """`committed` is called with each round whose transaction is committed. `trouble`: why nothing gets through now.

    With an `Announcer` in the place of transactions the offsets are committed behind the messages.
    """

    def __init__(
        self, consumer: GroupConsumer, transactions: Transactions | Announcer, committed: Callable[[Round], None]
    ) -> None:
        self._consumer, self._transactions, self._committed = consumer, transactions, committed
        self._rounds: list[Round] = []
        self._sent: list[Round] = []  # in the transaction under way, or in doubt
        self._last = 0  # records in the last transaction
        self._added, self._changed = asyncio.Event(), asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.trouble: Unavailable | None = None

    def begin(self) -> None:
        """Get ready for transactions, unless it is: a former process of this slot may have left one open."""
        if self._task is None and not self._transactions.open:
            self._run()

    def add(self, round_: Round) -> None:
        """It goes with the next transaction."""
        self._rounds.append(round_)
        self._added.set()
        if self._task is None or (self._task.done() and not self._task.exception()):
            self._run()

    async def room(self) -> None:
        """Until another round may come. Raises what a transaction failed with, or `trouble` where there is no room."""
        while True:
            if self._task is not None and self._task.done():
                task, self._task = self._task, None
                task.result()
            if not self._full:
                return
            if self.trouble is not None:
                raise self.trouble
            self._changed.clear()
            await self._changed.wait()

    async def end(self, within_s: float) -> None:
        """What has gathered is still published within this time; what is not is read again by somebody."""
        if self._task is not None:
            await asyncio.wait([self._task], timeout=within_s if self.trouble is None else 0.0)
            self._task.cancel()
            [error] = await asyncio.gather(self._task, return_exceptions=True)
            if error is not None:
                log.warning("the last transaction failed: its records will be read again", error=repr(error))
        self.drop()

    def drop(self) -> None:
        """Nothing more of it is published."""
        rounds, self._rounds, self._sent = [*self._sent, *self._rounds], [], []
        self._done(rounds)

    @property
    def _full(self) -> bool:
        return _records(self._rounds) >= GATHERED_MAX

    def _run(self) -> None:
        self._task = asyncio.create_task(self._publish_all())
        self._task.add_done_callback(lambda _: self._changed.set())

    async def _publish_all(self) -> None:
        while self._rounds or self._sent or not self._transactions.open:
            try:
                await self._get_ready()
                await self._gather()
                await self._publish()
            except Unanswered as error:
                self._rest(error)
                await asyncio.sleep(REST_S)
            else:
                self.trouble = None

    async def _get_ready(self) -> None:
        """A producer that can begin, and no doubt about the last transaction."""
        try:
            if not self._transactions.open:  # asking its thread would cost each transaction a turn
                await self._transactions.start()
            if self._sent and await self._came_through(self._sent):
                self._conclude()
        except Unanswered:
            raise
        except Unavailable as error:
            raise Unanswered(error.detail) from error

    async def _came_through(self, rounds: Sequence[Round]) -> bool:
        """All of it or nothing did. Raises `Unanswered` where nobody can say, `Unavailable`."""
        positions = _positions(rounds)
        committed = await self._consumer.read_committed(list(positions))
        return bool(positions) and all(committed[where] >= offset for where, offset in positions.items())

    async def _gather(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(GATHER_S, self._last * GATHER_S_PER_RECORD)):
                while not self._full and not self._sent:
                    self._added.clear()
                    await self._added.wait()

    async def _publish(self) -> None:
        """One transaction."""
        if not self._sent:
            self._sent, self._rounds = self._rounds, []
            self._changed.set()
        sent = self._sent  # its thread asks about these, whatever was dropped here meanwhile
        messages = [message for round_ in sent for message in round_.messages]
        positions = _positions(sent)
        self._last = _records(sent)
        if messages or positions:
            for batch in (round_.batch for round_ in sent if round_.batch is not None):
                self._consumer.take_up(batch)
            await self._transactions.publish(messages, positions, _metadata(sent), lambda: self._all_ours(sent))
            if not self._transactions.commits:
                await self._commit(sent, positions)
        self._conclude()

    async def _commit(self, sent: Sequence[Round], positions: Mapping[Where, int]) -> None:
        claims = {where: claim for round_ in sent for where, claim in round_.claims.items()}
        try:
            await self._consumer.commit_claimed(positions, claims)
        except ConsumerBroken:
            raise
        except Unavailable as error:
            raise Unanswered(error.detail) from error

    def _conclude(self) -> None:
        """What was sent is committed."""
        rounds, self._sent = self._sent, []
        self._done(rounds)
        for round_ in rounds:
            self._consumer.committed(round_.positions)
            self._committed(round_)

    def _rest(self, error: Unanswered) -> None:
        """Nobody waits for us meanwhile: a revocation need not, and what is not ours any more cannot be committed."""
        if not self._all_ours(self._sent):
            raise TransactionFailed("the partitions went to somebody else") from error
        if self.trouble is None:
            log.warning("Kafka does not answer; settling goes on", error=error.detail, waiting=len(self._rounds))
        self.trouble = error
        self._done(self._sent)
        self._changed.set()

    def _all_ours(self, rounds: Sequence[Round]) -> bool:
        return all(self._consumer.owns(where, claim) for each in rounds for where, claim in each.claims.items())

    def _done(self, rounds: Sequence[Round]) -> None:
        for round_ in rounds:
            if round_.batch is not None:
                self._consumer.done(round_.batch)


def _records(rounds: Sequence[Round]) -> int:
    return sum(round_.records for round_ in rounds)


def _positions(rounds: Sequence[Round]) -> dict[Where, int]:
    return {where: offset for round_ in rounds for where, offset in round_.positions.items()}


def _metadata(rounds: Sequence[Round]) -> Any:
    """The earliest, which is refused whenever a later one would be. Before the first batch there is none."""
    return next((round_.metadata for round_ in rounds if round_.metadata is not None), None)
