"""The life of a ticket: `pending → confirmed | cancelled | expired`; a confirmed one can still be cancelled."""

from __future__ import annotations

import enum
from datetime import datetime

import msgspec

from fairgate.domain.place import Status


class TicketStatus(enum.StrEnum):
    PENDING = "pending"
    CONFIRMED = "confirmed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def live(self) -> bool:
        """A live ticket counts against the capacity; a user has at most one per event."""
        return self in (TicketStatus.PENDING, TicketStatus.CONFIRMED)

    @property
    def seen_from_the_line(self) -> Status:
        return Status.ISSUED if self is TicketStatus.PENDING else Status(self.value)


_NEXT: dict[TicketStatus, frozenset[TicketStatus]] = {
    TicketStatus.PENDING: frozenset({TicketStatus.CONFIRMED, TicketStatus.CANCELLED, TicketStatus.EXPIRED}),
    TicketStatus.CONFIRMED: frozenset({TicketStatus.CANCELLED}),
    TicketStatus.CANCELLED: frozenset(),
    TicketStatus.EXPIRED: frozenset(),
}


def may_become(now: TicketStatus, then: TicketStatus) -> bool:
    return then in _NEXT[now]


class Ticket(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One ticket. `number` is its place in the event's order of admission (gaps allowed)."""

    ticket_id: str
    event_id: str
    user_id: str
    sequence: int
    number: int
    status: TicketStatus
    issued_at: datetime
    expires_at: datetime | None
