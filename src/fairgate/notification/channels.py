"""Where channels plug in. A channel is an object with a `name` and `deliver`; the inbox row is kept before any of them
is asked, so a channel that fails holds up neither the others nor the partition."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Protocol

import msgspec
import structlog

from fairgate.stores.inbox import Note
from fairgate.stores.presence import Presence
from fairgate.telemetry import NOTIFICATIONS

log = structlog.get_logger("fairgate.notification.channels")

# A channel either takes a batch at once or keeps it in a queue of its own.
DELIVER_S = 1.0
# Who has just failed is not asked for every batch.
REST_S = 1.0
# Far below the output buffer limit at which Valkey cuts a pub/sub client off.
HINT_MAX_BYTES = 262_144


class Channel(Protocol):
    """One way to reach users."""

    @property
    def name(self) -> str: ...

    async def deliver(self, notes: Sequence[Note]) -> None:
        """Tell each user. Returns soon; what needs retries is the channel's own to keep."""
        ...


class Channels:
    """All of them. `deliver` never raises."""

    def __init__(self, channels: Sequence[Channel]) -> None:
        self._channels = list(channels)
        self._rests_until: dict[str, float] = {}

    async def deliver(self, notes: Sequence[Note]) -> None:
        if notes:
            await asyncio.gather(*(self._one(channel, notes) for channel in self._channels))

    async def _one(self, channel: Channel, notes: Sequence[Note]) -> None:
        if time.monotonic() < self._rests_until.get(channel.name, 0.0):
            return
        try:
            async with asyncio.timeout(DELIVER_S):
                await channel.deliver(notes)
            NOTIFICATIONS.labels(channel.name, "handed over").inc(len(notes))
        except Exception as error:  # whatever a channel raises, the others and the partition go on
            self._rest(channel, error, len(notes))

    def _rest(self, channel: Channel, error: Exception, notes: int) -> None:
        self._rests_until[channel.name] = time.monotonic() + REST_S
        NOTIFICATIONS.labels(channel.name, "failed").inc(notes)
        log.warning("a channel could not deliver", channel=channel.name, notes=notes, error=repr(error))


class LiveChannel:
    """Hints to the live processes: one message per process and batch, however many users it is for.

    At most once, and that is enough: a live process also sweeps the inbox of who is connected.
    """

    name = "live"

    def __init__(self, presence: Presence) -> None:
        self._presence = presence

    async def deliver(self, notes: Sequence[Note]) -> None:
        """Raises `Unavailable`."""
        where = await self._presence.where(sorted({note.user_id for note in notes}))
        messages = [(process, hint) for process, users in where.items() for hint in encoded_hints(_of(notes, users))]
        if messages:
            await self._presence.tell(messages)


class Hint(msgspec.Struct, frozen=True, array_like=True):
    """One notification on its way to a live process."""

    user_id: str
    id: str
    kind: str
    payload: msgspec.Raw


def encoded_hints(notes: Sequence[Note]) -> list[bytes]:
    """As few messages as the size bound allows."""
    messages: list[bytes] = []
    some: list[Hint] = []
    size = 0
    for note in notes:
        if some and size + len(note.payload) > HINT_MAX_BYTES:
            messages.append(msgspec.json.encode(some))
            some, size = [], 0
        some.append(Hint(note.user_id, note.id, note.kind, msgspec.Raw(note.payload)))
        size += len(note.payload) + len(note.user_id) + len(note.id) + 100
    return [*messages, msgspec.json.encode(some)] if some else messages


def decoded_hints(message: str) -> list[Hint]:
    """Raises `msgspec.MsgspecError`."""
    return msgspec.json.decode(message, type=list[Hint])


def _of(notes: Sequence[Note], users: Sequence[str]) -> list[Note]:
    here = frozenset(users)
    return [note for note in notes if note.user_id in here]
