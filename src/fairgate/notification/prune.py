"""Forgets what users were told long ago, so that the inbox does not grow for ever."""

from __future__ import annotations

from fairgate.lifecycle import Service
from fairgate.stores.inbox import InboxStore

# So few that nobody who writes waits for long.
CHUNK = 2_000


class Prune(Service):
    """Every notification process has one: rows that another one is about to delete are left to it."""

    name = "inbox-prune"
    idle_s = 300.0

    def __init__(self, store: InboxStore, kept_days: int) -> None:
        super().__init__()
        self._store, self._kept_days = store, kept_days

    async def run_once(self) -> bool:
        return await self._store.prune(self._kept_days, CHUNK) >= CHUNK
