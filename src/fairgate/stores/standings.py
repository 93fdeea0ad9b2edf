"""What SQL knows of users in a line: who has a ticket, is admitted, or was told that the wait is over."""

from __future__ import annotations

from collections.abc import Sequence

from fairgate.domain.place import Outcome, Status
from fairgate.domain.ticket import TicketStatus
from fairgate.stores.database import Connection, Database

_TICKET_STATUSES = frozenset(status.value for status in TicketStatus)


async def read_standings(
    database: Database, connection: Connection, event_id: str, users: Sequence[str]
) -> dict[str, Outcome]:
    """By user; who is absent is not known to SQL."""
    rows = await database.queries.standings(connection, event_id=event_id, users=list(users))
    return {row["user_id"]: Outcome(_status(row["status"]), row["sequence"], row["ticket_id"]) for row in rows}


def _status(known: str) -> Status:
    return TicketStatus(known).seen_from_the_line if known in _TICKET_STATUSES else Status(known)
