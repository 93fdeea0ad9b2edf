"""Expire: a pending ticket whose hold ran out goes to the next in line (F11)."""

from __future__ import annotations

import time

import structlog

from fairgate.failpoints import failpoint
from fairgate.lifecycle import Service
from fairgate.stores.database import Database
from fairgate.stores.tickets import TicketStore
from fairgate.ticketing.tickets import Changed, nobody

log = structlog.get_logger("fairgate.ticketing")

# A hold ends at most this much late.
EVERY_S = 1.0
# Locks of an event are held for one such batch (about 20 ms).
BATCH = 500
# Longer than any pause of a healthy process, shorter than what a person at a payment page would forgive.
SILENCE_S = 10.0
# A client that still repeats a request after a day is not repeating it any more.
KEYS_KEPT_S, PRUNE_EVERY_S = 86_400.0, 3_600.0


class Expire(Service):
    """May run in any number of processes at once. Signals: `expired`."""

    name = "expire"
    idle_s = EVERY_S

    def __init__(self, database: Database, changed: Changed = nobody, silence_s: float = SILENCE_S) -> None:
        super().__init__()
        self._store, self._changed, self._silence_s = TicketStore(database), changed, silence_s
        self._pruned_at = 0.0
        self.expired = 0

    async def run_once(self) -> bool:
        overdue = await self._store.overdue(BATCH, self._silence_s)
        if overdue:
            await self._expire(overdue)
        await self._prune()
        return len(overdue) == BATCH

    async def _expire(self, overdue: list[str]) -> None:
        tickets = await self._store.expire(overdue)
        failpoint("tickets.expired")
        self.expired += len(tickets)
        self.signals["expired"].fire(len(tickets))
        if tickets:
            log.info("holds ran out", tickets=len(tickets))
            await self._changed(tickets)

    async def _prune(self) -> None:
        if time.monotonic() - self._pruned_at > PRUNE_EVERY_S or self._pruned_at == 0.0:
            await self._store.forget_idempotency_keys(KEYS_KEPT_S)
            self._pruned_at = time.monotonic()
