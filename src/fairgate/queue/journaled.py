"""How far Kafka has each line's journal: what the answer to a leave waits for, and to a join where `join_durability` is
`journal`.

The relay says so on a channel; the line's own state, asked now and then, is the net.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict

from fairgate.errors import NotJournaled
from fairgate.stores.journal import NOT_YET, JournalStore, Reached, comes_before, said_reached
from fairgate.stores.line_answers import NOWHERE, Answered

# Kafka moves a partition's leader within this when a broker dies; who waits longer is told to ask again.
WITHIN_S = 10.0
# The relay has moved an entry within milliseconds. Where its word is heard these questions are only the net.
ASK_FIRST_S, ASK_MAX_S = 0.02, 0.25


class Journaled:
    """One per process. What was said of another server's journal means nothing: all is kept by line and fence."""

    def __init__(self, store: JournalStore) -> None:
        self._store = store
        self._reached: dict[str, Reached] = {}  # by event id
        self._waiting: dict[str, set[asyncio.Event]] = defaultdict(set)

    def heard(self, message: str) -> None:
        """What the relay said on the channel."""
        for event_id, reached in said_reached(message):
            self._note(event_id, reached)

    def ask_all(self) -> None:
        """Notices may have been lost: everybody who waits asks."""
        for waiting in self._waiting.values():
            for moved in waiting:
                moved.set()

    async def wait(self, event_id: str, answered: Answered, within_s: float | None = None) -> None:
        """Until Kafka has what these places rest on; `within_s` None: `WITHIN_S`. Raises `NotJournaled` after that."""
        if answered.journal_id == NOWHERE:
            raise NotJournaled
        if self._has(event_id, answered):
            return
        moved, ask_s = asyncio.Event(), ASK_FIRST_S
        self._waiting[event_id].add(moved)
        try:
            async with asyncio.timeout(WITHIN_S if within_s is None else within_s):
                while not self._has(event_id, answered):
                    await self._next_word(event_id, answered.fence, moved, ask_s)
                    ask_s = min(ask_s * 2, ASK_MAX_S)
        except TimeoutError:
            raise NotJournaled from None
        finally:
            self._waiting[event_id].discard(moved)

    def _has(self, event_id: str, answered: Answered) -> bool:
        if not answered.journal_id:
            return True
        known = self._reached.get(event_id, NOT_YET)
        return known.fence == answered.fence and comes_before(answered.journal_id, known.entry_id)

    async def _next_word(self, event_id: str, fence: str, moved: asyncio.Event, ask_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ask_s):
                await moved.wait()
                moved.clear()
                return
        self._note(event_id, Reached(fence, await self._store.journaled(event_id)))

    def _note(self, event_id: str, reached: Reached) -> None:
        known = self._reached.get(event_id, NOT_YET)
        if reached.fence != known.fence or comes_before(known.entry_id, reached.entry_id):
            self._reached[event_id] = reached
        for moved in self._waiting.get(event_id, ()):
            moved.set()
