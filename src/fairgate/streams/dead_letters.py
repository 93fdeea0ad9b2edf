"""Dead letters (F24): what cannot be processed goes to `<topic>.dlq` as it was, with the cause, and stops nobody.

The cause stands in `fg_…` headers, beside the original ones:

| header | says |
| --- | --- |
| `fg_topic`, `fg_partition`, `fg_offset`, `fg_timestamp` | which record it was; the timestamp (epoch ms) is its own |
| `fg_reason_type`, `fg_reason` | why: one of `Reason`, and in words |
| `fg_attempts`, `fg_first_failed_at`, `fg_failed_at` | how often it was tried, from when until when (epoch ms) |
| `fg_group`, `fg_instance` | who gave it up |
| `fg_cut` | what did not fit and is not the original: of `key`, `value`, `headers`; absent where all is |
"""

from __future__ import annotations

import enum
import hashlib
import json
import os
import socket
import time

import msgspec

from fairgate.config import Config
from fairgate.streams.records import Headers, Record

OURS = "fg_"
TOPIC, PARTITION, OFFSET, TIMESTAMP = "fg_topic", "fg_partition", "fg_offset", "fg_timestamp"
REASON_TYPE, REASON = "fg_reason_type", "fg_reason"
ATTEMPTS, FIRST_FAILED_AT, FAILED_AT = "fg_attempts", "fg_first_failed_at", "fg_failed_at"
GROUP, INSTANCE, CUT = "fg_group", "fg_instance", "fg_cut"

# Ten times what any message that can be processed needs. A night of forged megabytes must fit into the topic, and the
# letters of one batch into one transaction.
VALUE_MAX_BYTES = 256 * 1024
KEY_MAX_BYTES, HEADERS_MAX_BYTES, REASON_MAX = 16 * 1024, 64 * 1024, 500
# Lengths and counters of a header on the wire: many empty ones are large too.
HEADER_BYTES = 16
BEGINNING_MAX = 1_000


class Reason(enum.StrEnum):
    """Why a record is given up. A closed set: people filter by it, metrics are labelled with it."""

    UNREADABLE = "unreadable"
    UNKNOWN_ADMISSION = "unknown-admission"
    UNKNOWN_TICKET = "unknown-ticket"
    RESERVED = "reserved"
    TOO_LARGE = "too-large"
    REFUSED_BY_SQL = "refused-by-sql"


class Failure(msgspec.Struct, frozen=True):
    """What happened. `first_at_ms` (epoch) where an earlier attempt failed too."""

    reason: Reason
    text: str
    attempts: int = 1
    first_at_ms: int | None = None


class Reader(msgspec.Struct, frozen=True):
    """Who gives a record up: the group with its prefix, and the process."""

    group: str
    instance: str


class Message(msgspec.Struct, frozen=True, gc=False):
    """A record to be produced."""

    topic: str
    key: bytes | str | None
    value: bytes | str | None
    headers: Headers


def reader(config: Config, group: str) -> Reader:
    """This process as a member of `group` (without its prefix)."""
    return Reader(config.topic_prefix + group, config.instance or f"{socket.gethostname()}:{os.getpid()}")


def dead_letter(record: Record, failure: Failure, by: Reader, now_ms: int | None = None) -> Message:
    """The record for `<topic>.dlq`: original key, value and headers, and the cause. A value that would be too large is
    replaced by a stub with its size, hash and beginning: the original stays in its topic as long as that keeps it.
    """
    now_ms = int(time.time() * 1000) if now_ms is None else now_ms
    key, value = _key(record.key), _value(record.value)
    # A letter that died again tells its last death, and nobody else's word about it counts.
    kept = [] if _size(record.headers) > HEADERS_MAX_BYTES else original_headers(record)
    cut = {"key": key != record.key, "value": value != record.value, "headers": not kept and bool(record.headers)}
    return Message(
        f"{record.topic}.dlq",
        key,
        value,
        kept + _cause(record, failure, by, now_ms, [n for n, was in cut.items() if was]),
    )


def original_headers(letter: Record) -> Headers:
    """Those that the record came with."""
    return [(name, value) for name, value in letter.headers if not name.startswith(OURS)]


def _cause(record: Record, failure: Failure, by: Reader, now_ms: int, cut: list[str]) -> Headers:
    said = {
        REASON_TYPE: failure.reason.value,
        REASON: failure.text[:REASON_MAX],
        TOPIC: record.topic,
        PARTITION: record.partition,
        OFFSET: record.offset,
        TIMESTAMP: record.timestamp_ms,
        ATTEMPTS: failure.attempts,
        FIRST_FAILED_AT: now_ms if failure.first_at_ms is None else failure.first_at_ms,
        FAILED_AT: now_ms,
        GROUP: by.group,
        INSTANCE: by.instance,
        **({CUT: ",".join(cut)} if cut else {}),
    }
    return [(name, str(value).encode(errors="replace")) for name, value in said.items()]


def _key(key: bytes | None) -> bytes | None:
    return key if key is None or len(key) <= KEY_MAX_BYTES else key[:KEY_MAX_BYTES]


def _value(value: bytes | None) -> bytes | None:
    if value is None or len(value) <= VALUE_MAX_BYTES:
        return value
    stub = {
        "tooLarge": True,
        "bytes": len(value),
        "sha256": hashlib.sha256(value).hexdigest(),
        "beginning": value[:BEGINNING_MAX].decode(errors="replace"),
    }
    return json.dumps(stub).encode()


def _size(headers: Headers) -> int:
    return sum(HEADER_BYTES + len(name.encode(errors="replace")) + len(value or b"") for name, value in headers)
