"""Shows how the outbox stands: rows that Kafka does not have yet, and the age of the oldest."""

from __future__ import annotations

from fairgate import telemetry
from fairgate.lifecycle import Service
from fairgate.stores.database import Database


class OutboxWatch(Service):
    name = "outbox-watch"
    idle_s = 1.0

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._database = database

    async def run_once(self) -> bool:
        async with self._database.connection() as connection:
            row = await self._database.queries.unsent(connection)
        telemetry.OUTBOX_UNSENT.set(row["rows"])
        telemetry.OUTBOX_AGE.set(row["age_s"])
        return False
