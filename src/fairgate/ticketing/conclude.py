"""What each record comes to: what is counted, and what is published. No server is asked here."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from typing import TypeAlias

import msgspec

from fairgate.stores.tickets import (
    Issued,
    Outcome,
    SettledBefore,
    SettledByThisRecord,
    Superseded,
    UnknownAdmission,
)
from fairgate.streams.dead_letters import Failure, Reader, Reason, dead_letter
from fairgate.streams.records import Record, Sendable
from fairgate.ticketing.orders import Announcement, Unreadable, are_traced
from fairgate.ticketing.parked import Parked


class Refused(msgspec.Struct, frozen=True):
    """PostgreSQL cannot take this record's data."""

    reason: str


Judgement: TypeAlias = Outcome | Unreadable | Refused


class Conclusion(msgspec.Struct, frozen=True, gc=False):
    """`what` is counted; `reason` for what is dead."""

    what: str
    message: Sendable | None = None
    reason: Reason | None = None


class Conclude:
    """`target` is the topic of announcements; dead letters are signed by `reader`."""

    def __init__(self, target: str, reader: Reader) -> None:
        self._target, self._reader = target, reader

    def __call__(self, record: Record, judgement: Judgement, parked: Parked) -> Conclusion:
        match judgement:
            case Issued(ticket):
                return Conclusion("issued", Announcement(self._target, ticket, record))
            case SettledByThisRecord(ticket):
                return Conclusion("announced_again", Announcement(self._target, ticket, record))
            case SettledBefore() | Superseded():
                return Conclusion("repeated")
            case UnknownAdmission():
                return self._unknown(record, parked)
            case Unreadable(reason):
                return self._dead(record, Failure(Reason.UNREADABLE, reason))
            case Refused(reason):
                return self._dead(record, Failure(Reason.REFUSED_BY_SQL, reason))

    def crowd(self, records: Sequence[Record], judgements: Sequence[Judgement]) -> list[Sendable]:
        """The announcements of a batch in which every ticket was made now; none where any was not."""
        tickets = [judgement.ticket for judgement in judgements if isinstance(judgement, Issued)]
        if len(tickets) < len(records):
            return []
        causes = records if are_traced(records) else repeat(None)
        return [Announcement(self._target, ticket, cause) for ticket, cause in zip(tickets, causes, strict=False)]

    def _unknown(self, record: Record, parked: Parked) -> Conclusion:
        trial = parked.park(record)
        if trial.again:
            return Conclusion("parked")
        text = "no such admission"
        return self._dead(record, Failure(Reason.UNKNOWN_ADMISSION, text, trial.attempts, trial.first_at_ms))

    def _dead(self, record: Record, failure: Failure) -> Conclusion:
        return Conclusion("dead", dead_letter(record, failure, self._reader), failure.reason)
