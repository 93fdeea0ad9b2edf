"""Forgets rows that Kafka has had for minutes, so that the outbox stays small."""

from __future__ import annotations

from fairgate.lifecycle import Service
from fairgate.stores.outbox import OutboxStore

# Long enough to look at by hand after an incident; short enough that the table fits in memory.
KEPT_S = 600.0
CHUNK = 500


class Prune(Service):
    name = "outbox-prune"
    idle_s = 30.0

    def __init__(self, store: OutboxStore) -> None:
        super().__init__()
        self._store = store

    async def run_once(self) -> bool:
        return await self._store.prune(KEPT_S, CHUNK) == CHUNK
