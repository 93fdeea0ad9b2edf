"""What is on its way to Kafka and was dropped meanwhile must not be committed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

from fairgate.streams.consumer import GroupConsumer
from fairgate.streams.transaction import Transactions
from fairgate.ticketing.publishing import Publishing, Round


class Gone:
    """A consumer whose partitions went to somebody else."""

    backlog = 0

    def owns(self, where: Any, claim: int) -> bool:
        return False


class UnderWay:
    """A transaction whose thread has not come to its question yet."""

    open = True

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.still_ours: Callable[[], bool] = lambda: True

    async def publish(self, messages: Any, positions: Any, metadata: Any, still_ours: Callable[[], bool]) -> None:
        self.still_ours = still_ours
        self.began.set()
        await asyncio.Event().wait()


async def test_a_transaction_under_way_hears_that_its_partitions_went_also_after_it_was_dropped() -> None:
    transactions, round_ = UnderWay(), Round(None)
    round_.positions, round_.claims = {("ticket-issue", 0): 7}, {("ticket-issue", 0): 1}
    publishing = Publishing(cast(GroupConsumer, Gone()), cast(Transactions, transactions), lambda _: None)
    publishing.add(round_)
    await transactions.began.wait()
    await publishing.end(0.0)
    assert not transactions.still_ours()
