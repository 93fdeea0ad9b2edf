"""What `Transactions` does, without the transaction: records first, and the offsets are committed behind them.

A process that dies in between leaves what was announced and not committed; whoever reads on announces it once more,
under the same message id. Fairgate's own readers find the repeat; others have to look at the id.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fairgate.config import Config
from fairgate.errors import Unavailable
from fairgate.streams.producer import OrderedProducer, Record
from fairgate.streams.publisher import Publisher
from fairgate.streams.records import Sendable, Where
from fairgate.streams.transaction import TransactionFailed, Unanswered


class Announcer:
    """One call at a time, like `Transactions`. Nobody is locked out: two of the same name only repeat each other."""

    commits = False
    open = True

    def __init__(self, config: Config, client_id: str) -> None:
        self._publisher = Publisher(lambda: OrderedProducer(config, client_id), client_id)

    async def start(self) -> None:
        """The producer is made with the first record."""

    async def publish(
        self,
        messages: Sequence[Sendable],
        positions: Mapping[Where, int],
        group_metadata: Any,
        still_ours: Callable[[], bool],
    ) -> None:
        """Return when Kafka has all of these; the offsets are the caller's to commit. Raises like `Transactions`."""
        if not still_ours():
            raise TransactionFailed("the partitions went to somebody else")
        by_topic: dict[str, list[Record]] = defaultdict(list)
        for message in messages:
            by_topic[message.topic].append((message.key, message.value, message.headers))
        try:
            for topic, records in by_topic.items():
                await self._publisher.publish(topic, records)
        except Unavailable as error:
            raise Unanswered(error.detail) from error

    async def close(self) -> None:
        await self._publisher.close()
