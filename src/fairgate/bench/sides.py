"""The sides of a comparison: each a whole system on the same servers, switched on while it is measured and off else."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Protocol

from fairgate.bench import cpu
from fairgate.bench.cores import pin, unpin
from fairgate.bench.rows import OURS
from fairgate.bench.sql import Numbers
from fairgate.bench.target import Address, FairgateTarget, Target
from fairgate.checker import books
from fairgate.config import Config
from fairgate.domain.line import LineState
from fairgate.links import database_of
from fairgate.local.supervisor import Stack
from fairgate.queue.lines import Lines
from fairgate.stores.inbox import InboxStore

# No bound of the line: what is measured is how fast all of it can go.
UNBOUNDED = 1_000_000

API_CORE, DRIVER_CORE = 0, 1


class Side(Protocol):
    """One implementation of the same pipeline."""

    name: str
    target: Target
    # Whether it writes down whom it told.
    keeps_inbox: bool

    async def on(self, roles: Sequence[str] | None = None) -> None:
        """Ready to be measured; `roles` of Fairgate's, or what corresponds to them. None is all."""
        ...

    async def off(self) -> None: ...

    async def open_line(self, event_id: str, *, paused: bool) -> str:
        """A line without bounds, by this name where names are ours to give. `paused`: who joins stays, until `admit`.

        → its name.
        """
        ...

    async def admit(self, event_id: str) -> None: ...

    async def tickets(self, event_id: str, of: int) -> int | None:
        """How many there are, of so many. None: nobody has counted just now."""
        ...

    async def told(self, event_id: str, of: int) -> int:
        """How many of so many users were told; where no inbox is kept, how many tickets there are."""
        ...

    def pids(self) -> dict[str, int]:
        """Its own processes."""
        ...

    def usage(self) -> dict[str, cpu.Usage]:
        """Of its own processes and of the servers; empty where the system does not tell."""
        ...

    def pin_api(self, core: int | None) -> bool:
        """The API on this core alone, or on every core again. → whether it is so now."""
        ...

    async def close(self) -> None: ...


class FairgateSide:
    """Fairgate's roles under a stack that is running."""

    name = OURS
    keeps_inbox = True

    def __init__(self, stack: Stack) -> None:
        self.config: Config = stack.config
        self.stack = stack
        self._database = database_of(self.config)
        self.lines = Lines(self._database)
        self._numbers = Numbers(partial(books.connect, self.config))
        self._inbox_before: dict[str, tuple[int, str]] = {}
        self.target: Target = FairgateTarget(
            self.name,
            Address(self.config.host, self.config.ports.api),
            Address(self.config.host, self.config.ports.live),
        )

    async def on(self, roles: Sequence[str] | None = None) -> None:
        wanted = [role for role in self.stack.roles if roles is None or role.role in roles]
        for role in wanted:
            if not role.child.running:
                role.child.start()
        for role in wanted:
            await asyncio.to_thread(self.stack.wait_ready, role)

    async def off(self) -> None:
        await asyncio.gather(*(asyncio.to_thread(role.child.stop, 8.0) for role in self.stack.roles))

    async def open_line(self, event_id: str, *, paused: bool) -> str:
        state = LineState.PAUSED if paused else LineState.OPEN
        self._inbox_before[event_id] = await self._numbers.value(_INBOX_ROWS), await InboxStore(self._database).edge()
        await self.lines.create(event_id, rate=float(UNBOUNDED), burst=UNBOUNDED, state=state)
        return event_id

    async def admit(self, event_id: str) -> None:
        await self.lines.open(event_id)

    async def tickets(self, event_id: str, of: int) -> int:
        return await self._numbers.value("select issued from tallies where event_id = $1", event_id)

    async def told(self, event_id: str, of: int) -> int:
        """Counting the rows costs more than writing some: until all can be there, the inbox's counter must do."""
        rows_before, edge = self._inbox_before[event_id]
        about = await self._numbers.value(_INBOX_ROWS) - rows_before
        return about if about < of else await self._numbers.value(_UNSEEN_SINCE, edge)

    def pids(self) -> dict[str, int]:
        return {role.child.name: role.child.pid for role in self.stack.roles if role.child.pid is not None}

    def usage(self) -> dict[str, cpu.Usage]:
        return cpu.usage(pids_of_servers(self.stack) | self.pids())

    def pin_api(self, core: int | None) -> bool:
        pid = self.pids()["api-0"]
        if core is None:
            unpin(pid)
            return False
        return pin(pid, core)

    async def close(self) -> None:
        await self._database.close()
        await self._numbers.close()


# Rows that were ever offered to the inbox: every batch takes its numbers before it is committed.
_INBOX_ROWS = "select pg_sequence_last_value(pg_get_serial_sequence('notifications', 'seq'))"

# Nobody acknowledges here: this is two indexes, read from where it was.
_UNSEEN_SINCE = "select count(*) from inbox where seen_at is null and tx >= cast(cast($1 as text) as xid8)"


def pids_of_servers(stack: Stack) -> dict[str, int]:
    """Kafka's nodes, Valkey and PostgreSQL, those that are ours."""
    children = stack.servers.children() if stack.servers is not None else []
    return {child.name: child.pid for child in children if child.pid is not None}
