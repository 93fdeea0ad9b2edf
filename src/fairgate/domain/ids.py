"""Identifiers: `[A-Za-z0-9_.:@-]{1,64}`, so that no id can break a key, a JSON document or a SQL text."""

from __future__ import annotations

import re
import zlib

from fairgate.errors import InvalidRequest

LOBBY = "lobby"

# `/queue/<event>` shares its place with these routes.
RESERVED_EVENT_IDS = frozenset({"join", "position", "leave"})

_ID = re.compile(r"[A-Za-z0-9_.:@-]{1,64}", re.ASCII)

ID_PATTERN = "^[A-Za-z0-9_.:@-]{1,64}$"


def is_id(text: object) -> bool:
    return isinstance(text, str) and _ID.fullmatch(text) is not None


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
