"""Identifiers: `[A-Za-z0-9_.:@-]{1,64}`, so that no id can break a key, a JSON document or a SQL text."""

from __future__ import annotations

import os
import re
import time
import zlib
from collections.abc import Iterable

from fairgate.errors import InvalidRequest

LOBBY = "lobby"

# `/queue/<event>` shares its place with these routes.
RESERVED_EVENT_IDS = frozenset({"join", "position", "leave"})

_ID = re.compile(r"[A-Za-z0-9_.:@-]{1,64}", re.ASCII)

_TICKET_ID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

ID_PATTERN = "^[A-Za-z0-9_.:@-]{1,64}$"


def is_id(text: object) -> bool:
    return isinstance(text, str) and _ID.fullmatch(text) is not None


def are_ids(texts: Iterable[str]) -> bool:
    """Whether each is."""
    return all(map(_ID.fullmatch, texts))


def is_ticket_id(text: str) -> bool:
    """Whether it is a UUID in its usual form."""
    return _TICKET_ID.fullmatch(text) is not None


def are_ticket_ids(texts: Iterable[str]) -> bool:
    """Whether each is."""
    return all(map(_TICKET_ID.fullmatch, texts))


def user_id(text: object) -> str:
    """The text itself. Raises `InvalidRequest`."""
    if not is_id(text):
        raise InvalidRequest("userId must be 1 to 64 of A-Z a-z 0-9 _ . : @ -")
    return str(text)


def event_id(text: object) -> str:
    """The text itself. Raises `InvalidRequest`."""
    if not is_id(text) or text in RESERVED_EVENT_IDS:
        raise InvalidRequest("eventId must be 1 to 64 of A-Z a-z 0-9 _ . : @ - and not join, position or leave")
    return str(text)


def shard_of(key: str, shards: int) -> int:
    """The same key is always in the same shard, in every process and language (CRC-32, IEEE)."""
    return zlib.crc32(key.encode()) % shards


# The two highest bits of a UUID's ninth byte.
_VARIANT = bytes(byte & 0x3F | 0x80 for byte in range(256))


def ticket_ids(count: int) -> list[str]:
    """New ids in growing order: UUIDs of version 7, 62 bits of each at random (RFC 9562).

    The 12 bits behind the milliseconds grow through the batch, so that an index of them grows at its end.
    """
    millis, random = f"{time.time_ns() // 1_000_000:012x}", bytearray(os.urandom(8 * count))
    random[::8] = random[::8].translate(_VARIANT)
    head, tails = f"{millis[:8]}-{millis[8:]}-7", random.hex()
    return [
        f"{head}{i * 4096 // count:03x}-{tails[16 * i : 16 * i + 4]}-{tails[16 * i + 4 : 16 * i + 16]}"
        for i in range(count)
    ]
