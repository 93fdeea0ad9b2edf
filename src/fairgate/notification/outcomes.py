"""Keeps the line's cache of outcomes up to date with the facts that notification reads (§4: `{K}:user`).

SQL decides; the cache only answers faster. So it is written beside the partition, not in its way: what Valkey cannot
take now is kept here, newest per user, and written when it is back.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence

import structlog

from fairgate.domain.messages import TicketIssued
from fairgate.domain.place import Outcome
from fairgate.domain.ticket import TicketStatus
from fairgate.errors import FairgateError
from fairgate.lifecycle import Service

log = structlog.get_logger("fairgate.notification.outcomes")

Remember = Callable[[Sequence[tuple[str, Sequence[tuple[str, Outcome]]]]], Awaitable[Sequence[FairgateError | None]]]

_SEEN = {status.value: status.seen_from_the_line for status in TicketStatus}

# About 30 MB at the very most; beyond it the oldest are left for SQL to answer.
KEPT_MAX = 100_000
PER_CALL = 1_000


class Outcomes(Service):
    """`remember([(event_id, [(user_id, outcome)])])` writes to the cache and may be repeated. → for each line None, or
    why it could not. Signal: `remembered`.
    """

    name = "outcome-cache"

    def __init__(self, remember: Remember) -> None:
        super().__init__()
        self._remember = remember
        self._pending: dict[tuple[str, str], Outcome] = {}

    async def add(self, tickets: Sequence[TicketIssued], within_s: float = 1.0) -> None:
        """Take these over. While all is well this returns when the cache has them; while Valkey is away, at once."""
        for ticket in tickets:
            outcome = Outcome(_SEEN[ticket.status], ticket.sequence, ticket.ticket_id)
            self._pending[ticket.event_id, ticket.user_id] = outcome
        self._drop_the_oldest()
        if tickets and self.failing is None:
            await self._written(within_s)

    async def run_once(self) -> bool:
        by_event: dict[str, list[tuple[str, Outcome]]] = defaultdict(list)
        for (event_id, user_id), outcome in self._pending.items():
            by_event[event_id].append((user_id, outcome))
        for start in range(0, max(map(len, by_event.values()), default=0), PER_CALL):
            parts = [(event_id, outcomes[start : start + PER_CALL]) for event_id, outcomes in by_event.items()]
            await self._write([(event_id, part) for event_id, part in parts if part])
        return False

    async def _write(self, parts: Sequence[tuple[str, list[tuple[str, Outcome]]]]) -> None:
        """All lines at once: a thousand with one outcome each are not worth a thousand journeys."""
        errors = await self._remember(parts)
        for (event_id, outcomes), error in zip(parts, errors, strict=True):
            if error is None:
                self._forget(event_id, outcomes)
        for error in filter(None, errors):
            raise error

    def _forget(self, event_id: str, outcomes: Sequence[tuple[str, Outcome]]) -> None:
        for user_id, outcome in outcomes:
            if self._pending.get((event_id, user_id)) is outcome:
                del self._pending[event_id, user_id]
        self.signals["remembered"].fire(len(outcomes))

    async def _written(self, within_s: float) -> None:
        try:
            async with self.signals["remembered"].expect(len(self._pending), within_s):
                self.wake.set()
        except TimeoutError:
            log.warning("the cache of outcomes is behind", pending=len(self._pending))

    def _drop_the_oldest(self) -> None:
        excess = len(self._pending) - KEPT_MAX
        for key in list(self._pending)[: max(0, excess)]:
            del self._pending[key]
        if excess > 0:
            log.warning("outcomes left out of the cache", count=excess)
