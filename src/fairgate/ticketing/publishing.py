"""What is settled, on its way to Kafka: one transaction after the other, each with all that came meanwhile.

A transaction back to back with the last waits for the markers of that one, whatever its size: so the busier it is, the
more goes together, and settling never waits for Kafka but where too much has gathered. A transaction that failed ends
this object: whoever settles starts over from the committed offsets.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog

from fairgate.streams.consumer import GroupConsumer
from fairgate.streams.dead_letters import Message, Reason
from fairgate.streams.records import Batch, Where
from fairgate.streams.transaction import Transactions

log = structlog.get_logger("fairgate.ticketing")

# Records that are settled and not yet in a transaction: as many as a batch has at most.
GATHERED_MAX = 10_000


class Round:
    """What one batch, with the parked records, comes to."""

    def __init__(self, batch: Batch | None) -> None:
        self.batch = batch
        self.records = len(batch) if batch is not None else 0
        self.messages: list[Message] = []
        self.positions: dict[Where, int] = {}
        self.claims: dict[Where, int] = {}
        self.metadata: Any = None
        self.counts: Counter[str] = Counter()
        self.reasons: Counter[Reason] = Counter()


class Publishing:
    """`committed` is called with each round whose transaction is committed."""

    def __init__(self, consumer: GroupConsumer, transactions: Transactions, committed: Callable[[Round], None]) -> None:
        self._consumer, self._transactions, self._committed = consumer, transactions, committed
        self._rounds: list[Round] = []
        self._task: asyncio.Task[None] | None = None

    def add(self, round_: Round) -> None:
        """It goes with the next transaction."""
        self._rounds.append(round_)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())

    async def room(self) -> None:
        """Until another round may come. Raises what a transaction failed with."""
        while self._task is not None:
            if self._task.done():
                self._task.result()
                self._task = None
            elif sum(round_.records for round_ in self._rounds) >= GATHERED_MAX:
                await asyncio.wait([self._task])
            else:
                return

    async def end(self, within_s: float) -> None:
        """What has gathered is still published within this time; what is not is read again by somebody."""
        if self._task is not None:
            await asyncio.wait([self._task], timeout=within_s)
            if self._task.done() and (error := self._task.exception()) is not None:
                log.warning("the last transaction failed: its records will be read again", error=str(error))
        self.drop()

    def drop(self) -> None:
        """Nothing more of it is published."""
        rounds, self._rounds = self._rounds, []
        self._done(rounds)

    async def _run(self) -> None:
        while rounds := self._rounds:
            self._rounds = []
            try:
                await self._publish(rounds)
            finally:
                self._done(rounds)
            for round_ in rounds:
                self._consumer.committed(round_.positions)
                self._committed(round_)

    async def _publish(self, rounds: Sequence[Round]) -> None:
        """One transaction. The earliest metadata is refused whenever a later one would be."""
        messages = [message for round_ in rounds for message in round_.messages]
        positions = {where: offset for round_ in rounds for where, offset in round_.positions.items()}
        if messages or positions:
            claims = [round_.claims for round_ in rounds]
            await self._transactions.publish(messages, positions, rounds[0].metadata, lambda: self._all_ours(claims))

    def _all_ours(self, claims: Sequence[Mapping[Where, int]]) -> bool:
        return all(self._consumer.owns(where, claim) for each in claims for where, claim in each.items())

    def _done(self, rounds: Sequence[Round]) -> None:
        for round_ in rounds:
            if round_.batch is not None:
                self._consumer.done(round_.batch)
