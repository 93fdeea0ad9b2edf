"""Says which lines' journals have new entries: once for all that were written to within a moment.

A notice for each join would cost the server, and whoever hears it, as much as the join. Who dies before it is said
leaves the entries to the relay's sweep.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

from fairgate.errors import Unavailable
from fairgate.stores.channel import Channel
from fairgate.stores.keys import JOURNAL_CHANNEL

# After a quiet moment a notice waits for nothing; the next one waits this long for others.
TOGETHER_S = 0.01

# Behind a line that somebody waits for; no id has it.
_AWAITED = "!"


class Stirred:
    """One per process and channel. `add` returns at once."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._event_ids: set[str] = set()
        self._awaited: set[str] = set()
        self._said_at = float("-inf")
        self._saying: asyncio.Task[None] | None = None

    def add(self, event_id: str, *, awaited: bool) -> None:
        """`awaited`: somebody is answered when Kafka has it."""
        (self._awaited if awaited else self._event_ids).add(event_id)
        if self._saying is None:
            self._saying = asyncio.get_running_loop().create_task(self._say())

    async def _say(self) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(0.0, self._said_at + TOGETHER_S - loop.time()))
        self._said_at, self._saying = loop.time(), None
        words = [*(self._event_ids - self._awaited), *(event_id + _AWAITED for event_id in self._awaited)]
        self._event_ids, self._awaited = set(), set()
        with contextlib.suppress(Unavailable):  # the sweep finds them
            await self._channel.command("PUBLISH", JOURNAL_CHANNEL, " ".join(words))


def said_stirred(message: str) -> Iterator[tuple[str, bool]]:
    """The lines that a notice names, and whether somebody waits for each."""
    for word in message.split(" "):
        yield word.removesuffix(_AWAITED), word.endswith(_AWAITED)
