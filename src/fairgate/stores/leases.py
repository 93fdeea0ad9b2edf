"""Leases of shards and slots of processes, by the database's clock.

The protocol. A lease is a row with an owner, an epoch and a deadline. Taking it moves the epoch, and every write that
depends on it names its epoch: SQL checks it with the row locked, Valkey's scripts refuse a lower one. So an owner that
was frozen and wakes up can change nothing, however late it notices. `held` is only the owner's own, earlier idea of
the same deadline: it counts from *before* the renewal was asked for.

A slot gives a process a number that outlives it: the next process of the same instance name takes the same slot at
once, and with it the same `group.instance.id` and `transactional.id`.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from fairgate.errors import Unavailable
from fairgate.lifecycle import Service
from fairgate.stores.database import Database

log = structlog.get_logger("fairgate.leases")

# An orphan must be back within 10 s (I8): takeover after one missed lease leaves 5 s to repeat the claims.
LEASE_S = 5.0
RENEW_EVERY_S = 1.5

# Who was not heard of for so long has no share of the shards any more: its leases end just then, and who lives takes
# all of them. Its slot stays its own for longer.
SILENCE_S = LEASE_S


class Shards(Service):
    """Keeps this process's fair share of the shards `<kind>:<n>`; `epochs` maps each held shard to its epoch."""

    idle_s = RENEW_EVERY_S

    def __init__(self, database: Database, kind: str, role: str, owner: str, count: int) -> None:
        super().__init__()
        self.name = f"leases-{kind}"
        self._database, self._kind, self._role, self.owner, self._count = database, kind, role, owner, count
        self._epochs: dict[int, int] = {}
        self._held_until = 0.0
        self._taken: list[Callable[[], None]] = []

    def on_taken(self, watcher: Callable[[], None]) -> None:
        """Called when shards have come into our hand."""
        self._taken.append(watcher)

    @property
    def epochs(self) -> dict[int, int]:
        """Shard → epoch, of what is held right now. Empty as soon as a renewal is overdue."""
        return dict(self._epochs) if time.monotonic() < self._held_until else {}

    def lost(self, shard: int) -> None:
        """A write was refused: somebody else owns this shard."""
        self._epochs.pop(shard, None)

    def name_of(self, shard: int) -> str:
        return f"{self._kind}:{shard}"

    async def run_once(self) -> bool:
        asked_at = time.monotonic()
        async with self._database.connection() as connection:
            await self._renew(connection)
            taken = await self._balance(connection)
        self._held_until = asked_at + LEASE_S
        for watcher in self._taken if taken else ():
            watcher()
        self.signals["renewed"].fire()
        return False

    async def _renew(self, connection: object) -> None:
        if time.monotonic() >= self._held_until:
            self._epochs.clear()
        mine = dict(self._epochs)
        kept = await self._database.queries.renew_leases(
            connection,
            names=[self.name_of(shard) for shard in mine],
            epochs=list(mine.values()),
            owner=self.owner,
            seconds=LEASE_S,
        )
        names = {row["name"] for row in kept}
        self._epochs = {shard: epoch for shard, epoch in mine.items() if self.name_of(shard) in names}

    async def _balance(self, connection: object) -> bool:
        """Give back what is beyond the share, take what is free up to it. → whether something was taken."""
        before = len(self._epochs)
        processes = max(
            1,
            await self._database.queries.live_slots(
                connection, role=self._role, hold_s=Slot.HOLD_S, silence_s=SILENCE_S
            ),
        )
        share = -(-self._count // processes)
        for shard in list(self._epochs)[share:]:
            await self._give_back(connection, [shard])
        for shard in range(self._count):
            if shard not in self._epochs and len(self._epochs) < share:
                await self._take(connection, shard)
        return len(self._epochs) > before

    async def _take(self, connection: object, shard: int) -> None:
        epoch = await self._database.queries.take_lease(
            connection, name=self.name_of(shard), owner=self.owner, seconds=LEASE_S
        )
        if epoch is not None:
            self._epochs[shard] = epoch
            log.info("lease taken", lease=self.name_of(shard), epoch=epoch)
            self.signals["taken"].fire()

    async def _give_back(self, connection: object, shards: list[int]) -> None:
        for shard in shards:
            self._epochs.pop(shard, None)
        await self._database.queries.give_back_leases(
            connection, names=[self.name_of(shard) for shard in shards], owner=self.owner
        )

    async def teardown(self) -> None:
        shards = list(self._epochs)
        async with self._database.connection() as connection:
            await self._give_back(connection, shards)


class Slot(Service):
    """This process's number within its role. `number` after `start` and `taken()`; `lost` when somebody else has it."""

    name = "slot"
    idle_s = RENEW_EVERY_S

    # A frozen process keeps its slot this long; a slot is a name, not a right, so longer than a lease does no harm.
    HOLD_S = 30.0

    def __init__(self, database: Database, role: str, owner: str) -> None:
        super().__init__()
        self._database, self._role, self._owner = database, role, owner
        self.number: int | None = None
        self.lost = False

    async def taken(self, within_s: float = 60.0) -> int:
        """The number, once it is ours."""
        async with self.signals["taken"].expect(0 if self.number is not None else 1, within_s):
            pass
        assert self.number is not None
        return self.number

    async def run_once(self) -> bool:
        async with self._database.connection() as connection:
            if self.number is None:
                await self._take(connection)
            else:
                await self._renew(connection)
        return False

    async def _take(self, connection: object) -> None:
        number = await self._database.queries.take_slot(
            connection, role=self._role, owner=self._owner, seconds=self.HOLD_S
        )
        if number is None:
            raise Unavailable(f"no slot for {self._role} yet")
        self.number = number
        self.signals["taken"].fire()

    async def _renew(self, connection: object) -> None:
        still = await self._database.queries.renew_slot(
            connection, role=self._role, slot=self.number, owner=self._owner, seconds=self.HOLD_S
        )
        if still is None:
            self.lost = True
            log.error("slot lost to another process", role=self._role, slot=self.number)

    async def teardown(self) -> None:
        if self.number is not None and not self.lost:
            async with self._database.connection() as connection:
                await self._database.queries.give_back_slot(
                    connection, role=self._role, slot=self.number, owner=self._owner
                )
