"""What came through Kafka, read strictly: either something to tell a user, or a reason why not. No I/O here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from fairgate.domain.ids import are_ticket_ids, is_ticket_id
from fairgate.domain.messages import NOT_READABLE, NotificationMessage, TicketIssued, reader_of_many
from fairgate.domain.words import DEFAULT_LOCALE, Words, words
from fairgate.stores.inbox import RESERVED_PREFIX, TICKET_ISSUED, Note
from fairgate.streams.dead_letters import Reason
from fairgate.streams.records import Record

# Goes to every device of the user as one socket message; a ticket's is under 500.
PAYLOAD_MAX_BYTES = 16_384
# Who reads it recurses, deeper in its stack than here: what is just readable here would stop every reader of the inbox.
DATA_DEPTH_MAX = 32

_issued = msgspec.json.Decoder(TicketIssued)
_many_issued = reader_of_many(TicketIssued)
_message = msgspec.json.Decoder(NotificationMessage)


class Bad(NamedTuple):
    """Cannot be processed, now or later."""

    record: Record
    reason: str
    kind: Reason = Reason.UNREADABLE
    attempts: int = 1
    first_at_ms: int | None = None


class Issued(NamedTuple):
    """Says that this ticket exists; to be believed only if SQL says so too."""

    record: Record
    fact: TicketIssued


class Message(NamedTuple):
    """Some service wants this user to be told something."""

    record: Record
    message: NotificationMessage


def read_all(records: Sequence[Record], *, issued_topic: str) -> Sequence[Issued | Message | Bad]:
    """Each as `read` sorts it; which looks at each where they are not all facts of tickets."""
    facts: list[TicketIssued] = []
    if all(record.topic == issued_topic for record in records):
        facts = _many_issued(record.value or b"" for record in records)
    if facts and are_ticket_ids(fact.ticket_id for fact in facts):
        return [Issued(record, fact) for record, fact in zip(records, facts, strict=True)]
    return [read(record, issued_topic=issued_topic) for record in records]


def read(record: Record, *, issued_topic: str) -> Issued | Message | Bad:
    """Sort one record by its topic. Never raises."""
    try:
        if record.topic == issued_topic:
            return _checked(Issued(record, _issued.decode(record.value or b"")))
        return _allowed(Message(record, _message.decode(record.value or b"")))
    except NOT_READABLE as error:
        return Bad(record, f"cannot be read: {error}")


def _checked(letter: Issued) -> Issued | Bad:
    if not is_ticket_id(letter.fact.ticket_id):
        return Bad(letter.record, "cannot be read: ticketId is not a UUID in its usual form")
    return letter


def _allowed(letter: Message) -> Message | Bad:
    message = letter.message
    if message.message_id.startswith(RESERVED_PREFIX) or message.kind == TICKET_ISSUED:
        return Bad(letter.record, "refused: this message id or kind is reserved for issued tickets", Reason.RESERVED)
    return letter


def agrees(fact: TicketIssued, ticket: TicketIssued | None) -> bool:
    """Whether SQL has this very ticket, for this user and event."""
    return ticket is not None and (ticket.user_id, ticket.event_id) == (fact.user_id, fact.event_id)


def note_of_message(letter: Message, locale: str) -> Note | Bad:
    """As it was sent; where it has no words of its own and is of a kind that we know, in the user's language."""
    message = letter.message
    if deeper_than(message.data, DATA_DEPTH_MAX):
        return Bad(letter.record, f"too large: data is nested deeper than {DATA_DEPTH_MAX}", Reason.TOO_LARGE)
    text = _words_for(message, locale)
    payload: dict[str, Any] = {
        "id": message.message_id,
        "kind": message.kind,
        "userId": message.user_id,
        "title": text.title,
        "body": text.body,
        "timestamp": message.timestamp,
    }
    if message.data is not None:
        payload["data"] = message.data
    encoded = msgspec.json.encode(payload)
    if len(encoded) > PAYLOAD_MAX_BYTES:
        reason = f"too large: {len(encoded)} bytes, at most {PAYLOAD_MAX_BYTES} reach a device"
        return Bad(letter.record, reason, Reason.TOO_LARGE)
    return Note(message.user_id, message.message_id, message.kind, encoded)


def deeper_than(document: Any, depth: int) -> bool:
    """Whether a JSON document has containers within containers beyond `depth`. Does not recurse."""
    level = [document]
    for _ in range(depth + 1):
        level = [inner for outer in level for inner in _inside(outer)]
    return bool(level)


def _inside(value: Any) -> list[Any]:
    match value:
        case dict():
            return list(value.values())
        case list():
            return value
        case _:
            return []


def _words_for(message: NotificationMessage, locale: str) -> Words:
    own = Words(message.title, message.body)
    if message.title and (message.body or locale == DEFAULT_LOCALE):
        return own
    event = str((message.data or {}).get("eventId", ""))
    return words(message.kind, locale, event=event) or own
