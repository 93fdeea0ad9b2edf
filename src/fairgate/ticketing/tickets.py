"""The ticket service (F10, F11, F14): what people and shops ask about tickets over HTTP."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence

from fairgate.config import SHARDS
from fairgate.domain.ids import shard_of
from fairgate.domain.ticket import Ticket, TicketStatus
from fairgate.failpoints import failpoint
from fairgate.stores.database import Database
from fairgate.stores.tickets import TicketStore

# Told of tickets that were moved or made just now, after the commit; what must not be lost does not hang on it.
Changed = Callable[[Sequence[Ticket]], Awaitable[None]]


async def nobody(_: Sequence[Ticket]) -> None:
    return None


class Tickets:
    """Every method raises `Unavailable` when SQL does not answer; a repeat then finds it done, or does it."""

    def __init__(self, database: Database, changed: Changed = nobody) -> None:
        self._store, self._changed = TicketStore(database), changed

    async def issue(self, user_id: str, event_id: str, idempotency_key: str | None, caller: str) -> tuple[Ticket, bool]:
        """The user's ticket for the event, and whether it was made now. The shop's own act: it needs no admission.

        `idempotency_key` counts within `caller`, the name of the credential. The caller's ids must be valid already.
        Raises `UnknownLine`, `SoldOut`, `KeyReused`.
        """
        ticket, created = await self._store.issue_direct(
            event_id,
            user_id,
            shard_of(user_id, SHARDS),
            _hash(caller, idempotency_key) if idempotency_key else None,
            _hash(user_id, event_id) if idempotency_key else None,
        )
        failpoint("tickets.issued")
        await self._tell(ticket, created)
        return ticket, created

    async def confirm(self, ticket_id: str, owner: str | None) -> Ticket:
        """The sale is done. Raises `NotFound`, `Conflict`. A repeat changes nothing."""
        return await self._move(ticket_id, owner, TicketStatus.CONFIRMED)

    async def cancel(self, ticket_id: str, owner: str | None) -> Ticket:
        """The ticket goes to the next in line. Raises `NotFound`, `Conflict`. A repeat changes nothing."""
        return await self._move(ticket_id, owner, TicketStatus.CANCELLED)

    async def get(self, ticket_id: str, owner: str | None) -> Ticket:
        """Raises `NotFound`, also for another's ticket. `owner` None means a service."""
        return await self._store.get(ticket_id, owner)

    async def of_user(self, user_id: str) -> list[Ticket]:
        """Newest first."""
        return await self._store.of_user(user_id)

    async def _move(self, ticket_id: str, owner: str | None, to: TicketStatus) -> Ticket:
        ticket, moved = await self._store.move(ticket_id, owner, to)
        failpoint("tickets.moved")
        await self._tell(ticket, moved)
        return ticket

    async def _tell(self, ticket: Ticket, news: bool) -> None:
        if news:
            await self._changed([ticket])


def _hash(*parts: str) -> str:
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()
