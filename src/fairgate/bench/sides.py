"""The sides of a comparison: each a whole system on the same servers, switched on while it is measured and off else."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol

import asyncpg

from fairgate.bench.cores import pin, unpin
from fairgate.bench.rows import OURS
from fairgate.bench.target import Address, FairgateTarget, Target
from fairgate.checker import books
from fairgate.domain.line import LineState
from fairgate.links import database_of
from fairgate.local.supervisor import Stack
from fairgate.queue.lines import Lines

# No bound of the line: what is measured is how fast all of it can go.
UNBOUNDED = 1_000_000

API_CORE, DRIVER_CORE = 0, 1


class Side(Protocol):
    """One implementation of the same pipeline."""

    name: str
    target: Target

    async def on(self, roles: Sequence[str] | None = None) -> None:
        """Ready to be measured; `roles` of Fairgate's, or what corresponds to them. None is all."""
        ...

    async def off(self) -> None: ...

    async def open_line(self, event_id: str, *, paused: bool) -> None:
        """A line without bounds. `paused`: who joins stays, until `admit`."""
        ...

    async def admit(self, event_id: str) -> None: ...

    async def tickets(self, event_id: str) -> int: ...

    async def told(self, event_id: str) -> int:
        """How many tickets their users were told of, as far as this side writes that down."""
        ...

    def pids(self) -> dict[str, int]: ...

    def pin_api(self, core: int | None) -> bool:
        """The API on this core alone, or on every core again. → whether it is so now."""
        ...

    async def close(self) -> None: ...


class FairgateSide:
    """Fairgate's roles under a stack that is running."""

    name = OURS

    def __init__(self, stack: Stack) -> None:
        config = stack.config
        self._stack = stack
        self._database = database_of(config)
        self._lines = Lines(self._database)
        self._sql: asyncpg.Connection[asyncpg.Record] | None = None
        self.target: Target = FairgateTarget(
            self.name,
            Address(config.host, config.ports.api),
            Address(config.host, config.ports.live),
        )

    async def on(self, roles: Sequence[str] | None = None) -> None:
        wanted = [role for role in self._stack.roles if roles is None or role.role in roles]
        for role in wanted:
            if not role.child.running:
                role.child.start()
        for role in wanted:
            await asyncio.to_thread(self._stack.wait_ready, role)

    async def off(self) -> None:
        await asyncio.gather(*(asyncio.to_thread(role.child.stop, 8.0) for role in self._stack.roles))

    async def open_line(self, event_id: str, *, paused: bool) -> None:
        state = LineState.PAUSED if paused else LineState.OPEN
        await self._lines.create(event_id, rate=float(UNBOUNDED), burst=UNBOUNDED, state=state)

    async def admit(self, event_id: str) -> None:
        await self._lines.open(event_id)

    async def tickets(self, event_id: str) -> int:
        return int((await (await self._connection()).fetchval(
            "select issued from tallies where event_id = $1", event_id)) or 0)  # fmt: skip

    async def told(self, event_id: str) -> int:
        return int(await (await self._connection()).fetchval(
            "select count(*) from notifications where payload ->> 'eventId' = $1", event_id))  # fmt: skip

    def pids(self) -> dict[str, int]:
        return {role.child.name: role.child.pid for role in self._stack.roles if role.child.pid is not None}

    def pin_api(self, core: int | None) -> bool:
        pid = self.pids()["api-0"]
        if core is None:
            unpin(pid)
            return False
        return pin(pid, core)

    async def close(self) -> None:
        await self._database.close()
        if self._sql is not None:
            await self._sql.close()

    async def _connection(self) -> Any:
        if self._sql is None or self._sql.is_closed():
            self._sql = await books.connect(self._stack.config)
        return self._sql
