"""From a record to an order, and from a ticket to what is published. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec

from fairgate.domain.messages import TicketIssue, TicketIssued, cloud_event_headers
from fairgate.domain.ticket import Ticket, TicketStatus
from fairgate.stores.tickets import Order
from fairgate.streams.dead_letters import Message
from fairgate.streams.records import Headers, Record

TRACE_HEADERS = frozenset({"traceparent", "tracestate"})
# W3C's own bound for `tracestate`. What a forged header has beyond it must not make the announcement too large.
TRACE_MAX_BYTES = 512

EPOCH, MILLISECOND = datetime.fromtimestamp(0, UTC), timedelta(milliseconds=1)
_decoder = msgspec.json.Decoder(TicketIssue)
_encoder = msgspec.json.Encoder()


class Unreadable(msgspec.Struct, frozen=True):
    """This record can never be an order."""

    reason: str


def order_of(record: Record, topic_id: str) -> Order | Unreadable:
    """The order that the record asks for."""
    if record.value is None:
        return Unreadable("no value")
    try:
        issue = _decoder.decode(record.value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return Unreadable(f"not a ticket-issue: {error}")
    return Order(issue, f"{topic_id}-{record.partition}@{record.offset}")


def announcement(topic: str, ticket: Ticket, cause: Record) -> Message:
    """The fact of this ticket."""
    fact = fact_of(ticket)
    headers: Headers = [*cloud_event_headers(fact.message_id, "ticket-issued"), *_trace(cause)]
    return Message(topic, ticket.user_id, _encoder.encode(fact), headers)


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


def _trace(cause: Record) -> Headers:
    """The last of each, within the bound."""
    found = {name: value for name, value in cause.headers if name in TRACE_HEADERS and value}
    return [(name, value) for name, value in found.items() if len(value) <= TRACE_MAX_BYTES]


def epoch_ms(moment: datetime) -> int:
    """What SQL's own arithmetic gives; a float's product is sometimes one less."""
    return (moment - EPOCH) // MILLISECOND
