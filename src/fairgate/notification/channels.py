"""Where channels plug in. A channel is an object with a `name` and `deliver`; the inbox row is kept before any of them
is asked, so a channel that fails holds up neither the others nor the partition."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Protocol

import structlog

from fairgate.stores.hints import NotesFor, give
from fairgate.stores.presence import Presence
from fairgate.telemetry import NOTIFICATIONS

log = structlog.get_logger("fairgate.notification.channels")

# A channel either takes a batch at once or keeps it in a queue of its own.
DELIVER_S = 1.0
# Who has just failed is not asked for every batch.
REST_S = 1.0


class Channel(Protocol):
    """One way to reach users."""

    @property
    def name(self) -> str: ...

    async def deliver(self, user_ids: Sequence[str], notes_for: NotesFor) -> None:
        """Tell each user. Returns soon; what needs retries is the channel's own to keep."""
        ...


class Channels:
    """All of them. `deliver` never raises."""

    def __init__(self, channels: Sequence[Channel]) -> None:
        self._channels = list(channels)
        self._rests_until: dict[str, float] = {}

    async def deliver(self, user_ids: Sequence[str], notes_for: NotesFor) -> None:
        """Each of `user_ids` stands for a new row; the notes are written for whom a channel reaches."""
        if user_ids:
            await asyncio.gather(*(self._one(channel, user_ids, notes_for) for channel in self._channels))

    async def _one(self, channel: Channel, user_ids: Sequence[str], notes_for: NotesFor) -> None:
        if time.monotonic() < self._rests_until.get(channel.name, 0.0):
            return
        try:
            async with asyncio.timeout(DELIVER_S):
                await channel.deliver(user_ids, notes_for)
            NOTIFICATIONS.labels(channel.name, "handed over").inc(len(user_ids))
        except Exception as error:  # whatever a channel raises, the others and the partition go on
            self._rest(channel, error, len(user_ids))

    def _rest(self, channel: Channel, error: Exception, notes: int) -> None:
        self._rests_until[channel.name] = time.monotonic() + REST_S
        NOTIFICATIONS.labels(channel.name, "failed").inc(notes)
        log.warning("a channel could not deliver", channel=channel.name, notes=notes, error=repr(error))


class LiveChannel:
    """Hints to the live processes. At most once, and that is enough: they also sweep the inbox of who is connected."""

    name = "live"

    def __init__(self, presence: Presence) -> None:
        self._presence = presence

    async def deliver(self, user_ids: Sequence[str], notes_for: NotesFor) -> None:
        """Raises `Unavailable`."""
        await give(self._presence, user_ids, notes_for)
