"""From a record to an order, and from a ticket to what is published. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache

import msgspec

from fairgate.domain.messages import (
    NOT_READABLE,
    TicketIssue,
    TicketIssued,
    cloud_event_headers,
    issued_id,
    reader_of_many,
)
from fairgate.domain.ticket import Ticket, TicketStatus
from fairgate.stores.tickets import Order
from fairgate.streams.records import Headers, Record

TRACE_HEADERS = frozenset({"traceparent", "tracestate"})
# Who traces marks every message, also those that nobody keeps: of a crowd's batch so many say whether it is traced.
TRACED_LOOKS = 64
# W3C's own bound for `tracestate`. What a forged header has beyond it must not make the announcement too large.
TRACE_MAX_BYTES = 512

EPOCH, MILLISECOND = datetime.fromtimestamp(0, UTC), timedelta(milliseconds=1)
_decode = msgspec.json.Decoder(TicketIssue).decode
_decode_many = reader_of_many(TicketIssue)
_encoder = msgspec.json.Encoder()


class Unreadable(msgspec.Struct, frozen=True):
    """This record can never be an order."""

    reason: str


def orders_of(records: Sequence[Record], topic_id: str) -> Sequence[Order | Unreadable]:
    """What each asks for; `order_of` looks at each where they are not all orders."""
    issues = _decode_many(record.value or b"" for record in records)
    if issues:
        return [Order(issue, _source(record, topic_id)) for issue, record in zip(issues, records, strict=True)]
    return [order_of(record, topic_id) for record in records]


def order_of(record: Record, topic_id: str) -> Order | Unreadable:
    """The order that the record asks for."""
    if record.value is None:
        return Unreadable("no value")
    try:
        issue = _decode(record.value)
    except NOT_READABLE as error:
        return Unreadable(f"not a ticket-issue: {error}")
    return Order(issue, _source(record, topic_id))


def _source(record: Record, topic_id: str) -> str:
    return f"{topic_id}-{record.partition}@{record.offset}"


class Announcement(msgspec.Struct, frozen=True, gc=False):
    """The fact of a ticket, to be sent. Put together when it is: of ten thousand that wait, each is small. `cause`: the
    record whose trace goes on; None where there is none.
    """

    topic: str
    ticket: Ticket
    cause: Record | None

    @property
    def key(self) -> str:
        return self.ticket.user_id

    @property
    def value(self) -> bytes:
        return _encoder.encode(fact_of(self.ticket))

    @property
    def headers(self) -> Headers:
        headers = cloud_event_headers(issued_id(self.ticket.ticket_id), "ticket-issued")
        return headers if self.cause is None else [*headers, *_trace(self.cause)]


def fact_of(ticket: Ticket) -> TicketIssued:
    """As it was at the issue, whatever became of the ticket since: a repeat says the same."""
    return TicketIssued(
        user_id=ticket.user_id,
        ticket_id=ticket.ticket_id,
        event_id=ticket.event_id,
        number=ticket.number,
        sequence=ticket.sequence,
        status=TicketStatus.CONFIRMED if ticket.expires_at is None else TicketStatus.PENDING,
        timestamp=epoch_ms(ticket.issued_at),
        expires_at=None if ticket.expires_at is None else epoch_ms(ticket.expires_at),
    )


def are_traced(records: Sequence[Record]) -> bool:
    """Whether they carry traces: a header costs as much to look at as it does to write."""
    return any(_trace(record) for record in records[:: 1 + len(records) // TRACED_LOOKS])


def _trace(cause: Record) -> Headers:
    """The last of each, within the bound."""
    found = {name: value for name, value in cause.headers if name in TRACE_HEADERS and value}
    return [(name, value) for name, value in found.items() if len(value) <= TRACE_MAX_BYTES]


@lru_cache(256)
def epoch_ms(moment: datetime) -> int:
    """What SQL's own arithmetic gives; a float's product is sometimes one less. A batch shares its moments."""
    return (moment - EPOCH) // MILLISECOND
