"""Who is connected hears of a ticket as soon as SQL has it; its inbox row follows by way of Kafka.

A hint is never waited for and never repeated. Whoever misses it gets the same notification, under the same id, when the
row is there.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Sequence

import structlog

from fairgate.domain.ticket import Ticket
from fairgate.errors import Unavailable
from fairgate.stores.hints import give
from fairgate.stores.inbox import InboxStore, Note
from fairgate.stores.presence import Presence
from fairgate.ticketing.orders import fact_of

log = structlog.get_logger("fairgate.ticketing")

# More than this, and the rows are as soon there as their hints.
WAITING_MAX = 2_000
# While a server is away nobody is asked for each batch.
REST_S = 1.0


class Hints:
    """For one process of ticketing."""

    def __init__(self, presence: Presence, inbox: InboxStore) -> None:
        self._presence, self._inbox = presence, inbox
        self._waiting: list[Ticket] = []
        self._task: asyncio.Task[None] | None = None
        self._rests_until = 0.0

    def issued(self, tickets: Sequence[Ticket]) -> None:
        """SQL has these. Returns at once."""
        if time.monotonic() < self._rests_until or len(self._waiting) + len(tickets) > WAITING_MAX:
            return
        self._waiting += tickets
        if self._waiting and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        """What comes while some are told is told together."""
        while tickets := self._waiting:
            self._waiting = []
            try:
                await self._tell(tickets)
            except Unavailable as error:
                self._rests_until, self._waiting = time.monotonic() + REST_S, []
                log.debug("no hints for a moment", error=str(error))

    async def _tell(self, tickets: Sequence[Ticket]) -> None:
        async def notes_for(users: Collection[str]) -> list[Note]:
            return await self._inbox.notes_of([fact_of(ticket) for ticket in tickets if ticket.user_id in users])

        await give(self._presence, [ticket.user_id for ticket in tickets], notes_for)
