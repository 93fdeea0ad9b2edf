"""What travels through Kafka (F20, F23). JSON, readable by any stock client; unknown fields are ignored.

`timestamp` is epoch milliseconds. Orders are imperative, facts are past tense; both are frozen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from operator import attrgetter
from typing import Annotated, Any, Literal, TypeVar, cast, get_type_hints

import msgspec

from fairgate.domain.ids import ID_PATTERN, are_ids

# Python's `$` would let a line's end pass behind the id.
Id = Annotated[str, msgspec.Meta(pattern=rf"{ID_PATTERN}(?!\n)")]
# What PostgreSQL's bigint and a browser's number can hold.
Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Millis = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]

# What decoding raises for bytes that are no such message.
NOT_READABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

M = TypeVar("M", bound=msgspec.Struct)


class TicketIssue(msgspec.Struct, frozen=True, gc=False, kw_only=True, rename="camel"):
    """Issue a ticket to this admitted user. Topic `ticket-issue`, key = event id."""

    user_id: Id
    event_id: Id
    sequence: Int64
    number: Int64
    timestamp: Millis


class TicketIssued(msgspec.Struct, frozen=True, gc=False, kw_only=True, rename="camel"):
    """This ticket exists. Topic `ticket-issued`, key = user id. Message id: `issued:<ticketId>`."""

    user_id: Id
    ticket_id: str
    event_id: Id
    number: Int64
    sequence: Int64
    status: str
    timestamp: Millis
    expires_at: Millis | None = None

    @property
    def message_id(self) -> str:
        return issued_id(self.ticket_id)


def issued_id(ticket_id: str) -> str:
    """The message id of the fact of this ticket."""
    return f"issued:{ticket_id}"


def reader_of_many(message: type[M]) -> Callable[[Iterable[bytes]], list[M]]:
    """Reads many of a kind, or none of them where one cannot be read. The ids of all are looked at together: a pattern
    for each costs three times as much as all the rest.
    """
    ids = [name for name, kind in get_type_hints(message, include_extras=True).items() if kind == Id]
    plain = [(name, str) for name in ids]
    aside = msgspec.defstruct(message.__name__, plain, bases=(message,), frozen=True, gc=False, kw_only=True)
    decode, of_each = msgspec.json.Decoder(cast(type[M], aside)).decode, [attrgetter(name) for name in ids]

    def read(values: Iterable[bytes]) -> list[M]:
        try:
            messages = [decode(value) for value in values]
        except NOT_READABLE:
            return []
        return messages if all(are_ids(set(map(of, messages))) for of in of_each) else []

    return read


class NotificationMessage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Tell this user something. Topic `notification`, key = user id; any service may send one."""

    message_id: Id
    user_id: Id
    kind: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    title: Annotated[str, msgspec.Meta(max_length=200)]
    body: Annotated[str, msgspec.Meta(max_length=2_000)]
    data: dict[str, Any] | None = None
    timestamp: Millis


class QueueJournal(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What happened to places of a line. Topic `queue-journal`, key = event id. `users` and `sequences` go in pairs.

    `joined` and `left` say so. `snapshot` is a part of all who waited when `era` began: `part` counts from 0, the last
    one has `parts`, and the highest sequence that was given before (`watermark`). `gap`: from here on, until a snapshot
    of the next era, joins and leaves are missing. Order and repeats mean nothing (domain/journal.py reads it).
    """

    event_id: Id
    kind: Literal["joined", "left", "snapshot", "gap"]
    era: int
    timestamp: Millis
    users: list[Id] = []
    sequences: list[int] = []
    snapshot: str | None = None
    part: int = 0
    parts: int | None = None
    watermark: int | None = None


# Headers: CloudEvents' Kafka binding in binary mode.
CE_ID, CE_TYPE, CE_SOURCE, CE_SPECVERSION = "ce_id", "ce_type", "ce_source", "ce_specversion"


_SPECVERSION, _SOURCE, _CONTENT = (
    (CE_SPECVERSION, b"1.0"),
    (CE_SOURCE, b"/fairgate"),
    ("content-type", b"application/json"),
)


def cloud_event_headers(message_id: str, kind: str) -> list[tuple[str, str | bytes | None]]:
    """`kind` is the logical topic: `ticket-issue`, `ticket-issued`, `notification`, `queue-journal`."""
    return [_SPECVERSION, (CE_ID, message_id.encode()), _type(kind), _SOURCE, _CONTENT]


@cache
def _type(kind: str) -> tuple[str, bytes]:
    return CE_TYPE, f"fairgate.{kind}".encode()
