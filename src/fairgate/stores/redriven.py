"""Which dead letters were sent again, in SQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

from fairgate.stores.database import Database

# Twice as long as a dead letter stays in its topic.
KEPT_S = 28 * 86_400.0


class Origin(NamedTuple):
    """The record that died: where it stood, and its own time, so that a topic made anew cannot be mistaken."""

    topic: str
    partition: int
    offset: int
    written_ms: int


class RedrivenStore:
    """Raises `Unavailable`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._q = database.queries

    async def of_topic(self, topic: str) -> set[Origin]:
        async with self._database.connection() as connection:
            return {Origin(*row) for row in await self._q.all_redriven(connection, topic=topic)}

    @asynccontextmanager
    async def marking(self, origins: Sequence[Origin]) -> AsyncIterator[set[Origin]]:
        """Those of these that nobody has redriven. They are marked if the block ends well, and not if it fails: a
        process that dies in it sends again, and never leaves a mark for what was not sent.
        """
        async with self._database.transaction() as connection:
            rows = await self._q.mark_redriven(
                connection,
                topics=[origin.topic for origin in origins],
                partitions=[origin.partition for origin in origins],
                offsets=[origin.offset for origin in origins],
                written=[origin.written_ms for origin in origins],
            )
            yield {Origin(*row) for row in rows}
            await self._q.forget_redriven(connection, seconds=KEPT_S)
