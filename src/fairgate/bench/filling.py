"""A long line without a crowd: places go in by the same script as joins, past HTTP, as fast as Valkey takes them."""

from __future__ import annotations

import asyncio
import secrets

from fairgate.bench.sides import FairgateSide
from fairgate.bench.until import until
from fairgate.domain.line import Line
from fairgate.errors import StaleGeneration, Unavailable
from fairgate.links import Links
from fairgate.stores.journal import JournalStore
from fairgate.stores.line import JOINS_MAX, LineStore

# The journal may hold two millions on their way to Kafka; beyond that it is dropped and the line is written anew.
UNJOURNALED_MAX = 500_000
AT_ONCE = 4
JOURNALED_S = 300.0
READY_S = 15.0


class Filler:
    """Fills lines of one side and looks at its Valkey. `close` it."""

    def __init__(self, side: FairgateSide) -> None:
        self._links = Links(side.config, "bench")
        self.store: LineStore = self._links.line
        self._journal = JournalStore(self.store)

    def line(self, event_id: str) -> Line:
        """As it was when it was last looked at. Raises `UnknownLine`."""
        return self._links.book.get(event_id)

    async def fill(self, event_id: str, count: int) -> None:
        """So many more wait. Returns when Kafka has them all. Raises `Unavailable`."""
        await self.ready(event_id)
        for start in range(0, count, UNJOURNALED_MAX):
            await self._join(event_id, min(UNJOURNALED_MAX, count - start))
            await self.journaled(event_id)

    async def journaled(self, event_id: str) -> None:
        """Until nothing of the line's journal is on its way any more."""

        async def empty() -> bool:
            return not any(await self._journal.waits([self.line(event_id)]))

        await until(empty, JOURNALED_S, "the line's journal in Kafka")

    async def waiting(self, event_id: str) -> int | None:
        """How many wait; None while the line is being restored."""
        try:
            await self._links.book.refresh()
            board = await self.store.board(self.line(event_id), 1)
        except (StaleGeneration, Unavailable):
            return None
        return board.size

    async def wipe(self) -> None:
        """Everything in this Valkey is gone."""
        await self.store.channel.connect()
        await self.store.channel.command("FLUSHALL")

    async def memory(self) -> int:
        """Bytes that Valkey uses for what it holds."""
        await self.store.channel.connect()
        info: bytes = await self.store.channel.command("INFO", "memory")
        return int(next(line for line in info.splitlines() if line.startswith(b"used_memory:")).split(b":")[1])

    async def close(self) -> None:
        await self._links.close()

    async def ready(self, event_id: str, within_s: float = READY_S) -> None:
        """Until the line takes joins. Raises `Unavailable`."""

        async def there() -> bool:
            return await self.waiting(event_id) is not None

        await until(there, within_s, "a line that takes joins")

    async def _join(self, event_id: str, count: int) -> None:
        line, left = self.line(event_id), count
        while left > 0:
            sizes = [min(JOINS_MAX, max(0, left - number * JOINS_MAX)) for number in range(AT_ONCE)]
            await asyncio.gather(*(self.store.join(line, guests(size)) for size in sizes if size))
            left -= sum(sizes)


def guests(count: int) -> list[str]:
    """Ids of the same form as those that the API makes."""
    return [f"g-{secrets.token_urlsafe(17)[:22]}" for _ in range(count)]
