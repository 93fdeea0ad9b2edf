"""Who may write a line. Taking over: epoch in SQL (the lease) → epoch, fence, settings into Valkey → read the claims.

A line whose server is not the one that SQL's generation was prepared on, or went back in time, or of which an operator
says so, is restored first (`recovery.py`). Here it is noticed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from fairgate import telemetry
from fairgate.admission.pace import Bound, refilled
from fairgate.admission.recovery import Recovery
from fairgate.domain.line import Line, generation_of
from fairgate.errors import StaleEpoch, StaleGeneration, Unavailable
from fairgate.failpoints import failpoint
from fairgate.lifecycle import Signal
from fairgate.stores.database import Database
from fairgate.stores.leases import Shards
from fairgate.stores.line import LineStore
from fairgate.stores.lines import LineBook, next_generation
from fairgate.stores.recovery import RecoveryStore

# A wake-up goes over a publish that nobody stores; who waited for one that was lost waits this long.
SWEEP_S = 5.0

# A wiped server refuses all joins until it is noticed.
CANARY_S = 0.5


class Owned:
    """One line in this process's hand: how many wait and what bounds it. Counts are as of the last script call."""

    def __init__(self, line: Line, epoch: int, run_id: str) -> None:
        self.line, self.epoch, self.run_id = line, epoch, run_id
        self.waiting = self.claims = 0
        self.stirred = False
        self.due_at = float("-inf")  # before that nobody can pass
        self.bound, self.shown, self.shown_at = Bound.NONE, "", float("-inf")  # what decides, and what the board says
        self.held_until = 0.0  # after a recovery, while clients show their tokens
        self.stock = Stock()

    @property
    def has_someone(self) -> bool:
        return self.waiting + self.claims > 0

    @property
    def recovering(self) -> bool:
        return self.held_until > 0

    def make_due(self) -> None:
        """Something has changed: look at it with the next round."""
        self.due_at = float("-inf")


class Stock:
    """What SQL says of the tickets of a line, and the line's bucket.

    SQL keeps the bucket of the whole rate, so that a new owner does not start with a full one. This process's own is
    never fuller than that, and is refilled more slowly while the pipeline is behind.
    """

    def __init__(self) -> None:
        self.capacity: int | None = None
        self.reserved = self.admitted = self.issued = self.confirmed = 0
        self.tokens, self._at = 0.0, 0.0
        self._known, self.read_at = False, float("-inf")

    @property
    def remaining(self) -> int | None:
        return None if self.capacity is None else max(0, self.capacity - self.reserved)

    @property
    def unsettled(self) -> int:
        return max(0, self.admitted - self.issued)

    def refill(self, line: Line, share: float) -> None:
        """`share` of the line's rate has come since the last time."""
        now = time.monotonic()
        self.tokens = refilled(self.tokens, now - self._at, rate=line.rate, burst=line.burst, share=share)
        self._at = now

    def read(self, row: object, asked_at: float) -> None:
        """`row` of `stocks`."""
        self.capacity, self.reserved = row["capacity"], row["reserved"]  # type: ignore[index]
        self.admitted, self.issued, self.confirmed = row["admitted"], row["issued"], row["confirmed"]  # type: ignore[index]
        if self._known:
            self.tokens = min(self.tokens, row["tokens"])  # type: ignore[index]
        else:
            self.tokens, self._at, self._known = row["tokens"], time.monotonic(), True  # type: ignore[index]
        self.read_at = asked_at

    def spend(self, count: int) -> None:
        self.tokens -= count
        self.reserved += count
        self.admitted += count


class Owner:
    """The lines of the shards that this process holds."""

    def __init__(
        self,
        database: Database,
        book: LineBook,
        store: LineStore,
        shards: Shards,
        *,
        recovery: Recovery,
        grace_s: float,
    ) -> None:
        self._database, self._book, self._store, self._shards = database, book, store, shards
        self._recovery, self._grace_s = recovery, grace_s
        self._recovered = RecoveryStore(store)
        self._owned: dict[str, Owned] = {}
        self._doubted: dict[str, int] = {}  # event id → generation that this server may have forgotten parts of
        self._by_token: dict[tuple[str, int], int] = {}
        self._swept_at, self._sang_at = time.monotonic(), float("-inf")  # the first song at once: then it is missed
        self._song: int | None = None
        self.prepared, self.sung, self.counted = Signal(), Signal(), Signal()

    @property
    def lines(self) -> list[Owned]:
        return list(self._owned.values())

    def get(self, event_id: str) -> Owned | None:
        return self._owned.get(event_id)

    async def take_over(self) -> None:
        """Prepare what is new in our hand, newly set, or on another server; let go what is not ours any more."""
        await self._store.channel.connect()
        await self._notice_a_wipe()
        epochs = self._shards.epochs
        for event_id, owned in list(self._owned.items()):
            if epochs.get(owned.line.shard) != owned.epoch:
                del self._owned[event_id]
        wanted = [
            line for line in self._book if line.shard in epochs and not self._is_current(line, epochs[line.shard])
        ]
        wanted = [line for line in wanted if not self._recovery.under_way(line.event_id)]
        await self._doubt_what_is_behind([line for line in wanted if line.event_id not in self._owned])
        for line in wanted:
            await self._prepare_or_let_go(line, epochs[line.shard])

    async def _notice_a_wipe(self) -> None:
        """The song that we sang last is gone, or an older one is back, though the connection stayed."""
        if time.monotonic() - self._sang_at < CANARY_S:
            return
        self._sang_at, last = time.monotonic(), self._song
        self._song = max(int(time.time() * 1000), (last or 0) + 1)
        heard = await self._store.sing(self._shards.owner, self._song)
        self.sung.fire()
        if last is not None and (heard is None or heard < last):
            self._doubted |= {event_id: owned.line.generation for event_id, owned in self._owned.items()}
        if heard is None or heard < (last or 0):
            self._owned.clear()

    async def _doubt_what_is_behind(self, lines: Sequence[Line]) -> None:
        """A server that has given fewer numbers than SQL has seen has lost some, whoever it says that it is."""
        if not lines:
            return
        async with self._database.connection() as connection:
            rows = await self._database.queries.highest_admitted(connection, events=[line.event_id for line in lines])
        admitted = {row["event_id"]: row["sequence"] for row in rows}
        for line in lines:
            highest = admitted.get(line.event_id, 0)
            if generation_of(highest) == line.generation > 0 and await self._recovered.given(line) < highest:
                self._doubted[line.event_id] = line.generation

    def sweep_soon(self) -> None:
        """Wake-ups may have been lost."""
        self._swept_at = float("-inf")

    async def sweep(self) -> None:
        """The net under the wake-up: look whether somebody waits in a line that is thought empty."""
        if time.monotonic() - self._swept_at < SWEEP_S:
            return
        self._swept_at = time.monotonic()
        idle = [owned for owned in self._owned.values() if not owned.has_someone]
        counts = await asyncio.gather(*(self._store.waiting(owned.line) for owned in idle))
        for owned, (waiting, claims) in zip(idle, counts, strict=True):
            owned.waiting, owned.claims = waiting, claims
        restored = [owned for owned in self._owned.values() if owned.line.generation > 1]
        await asyncio.gather(*(self._count_tokens(owned) for owned in restored))

    async def settle(self) -> None:
        """End the grace time of lines that were restored."""
        for owned in [one for one in self._owned.values() if one.recovering and time.monotonic() >= one.held_until]:
            try:
                await self._recovered.settle(owned.line, owned.epoch)
            except StaleEpoch:
                self.lost(owned)
            except StaleGeneration:
                self.forget(owned)
            else:
                owned.held_until = 0.0
                await self._count_tokens(owned)

    async def _count_tokens(self, owned: Owned) -> None:
        """Note in SQL how many came back by their tokens; some come late."""
        line = owned.line
        known, count = self._by_token.get((line.event_id, line.generation), 0), await self._recovered.by_token(line)
        if count <= known:
            return
        async with self._database.connection() as connection:
            await self._database.queries.came_back_by_token(
                connection, event_id=line.event_id, generation=line.generation - 1, count=count
            )
        telemetry.PLACES_RESTORED.labels("token").inc(count - known)
        self._by_token[line.event_id, line.generation] = count
        self.counted.fire()

    def forget(self, owned: Owned) -> None:
        """Look at this line afresh in the next round."""
        self._owned.pop(owned.line.event_id, None)

    def lost(self, owned: Owned) -> None:
        """Somebody else owns this line's shard."""
        self._shards.lost(owned.line.shard)
        self.forget(owned)

    def lease_of(self, owned: Owned) -> str:
        return self._shards.name_of(owned.line.shard)

    def _is_current(self, line: Line, epoch: int) -> bool:
        owned = self._owned.get(line.event_id)
        return (
            owned is not None
            and owned.epoch == epoch
            and owned.line.version == line.version
            and owned.run_id == self._store.channel.run_id
        )

    async def _prepare_or_let_go(self, line: Line, epoch: int) -> None:
        try:
            await self._prepare(line, epoch)
        except StaleEpoch:
            self._shards.lost(line.shard)

    async def _prepare(self, line: Line, epoch: int) -> None:
        if self._recovery.under_way(line.event_id):
            return
        first = line.generation == 0
        if first:
            line = await self._first_generation(line, epoch)
        elif cause := await self._cause(line):
            self._owned.pop(line.event_id, None)
            self._recovery.begin(line, epoch, cause)
            return
        failpoint("admission.leased")
        waiting, claims, recovering = await self._store.prepare(line, epoch, new_generation=first)
        failpoint("admission.prepared")
        owned = Owned(line, epoch, self._store.channel.run_id)
        owned.waiting, owned.claims = waiting, claims
        if recovering:
            before = self._owned.get(line.event_id)
            owned.held_until = before.held_until if before is not None else time.monotonic() + self._grace_s
        if first or recovering:
            await self._tell(line)
        self._owned[line.event_id] = owned
        self._doubted.pop(line.event_id, None)
        self.prepared.fire()

    async def _cause(self, line: Line) -> str | None:
        """Why this line has to be restored before anybody may use it."""
        if line.rebuild == line.generation:
            return "operator"
        if not await self._store.prepared(line):
            return "server_changed"
        return "went_back" if self._doubted.get(line.event_id) == line.generation else None

    async def _first_generation(self, line: Line, epoch: int) -> Line:
        if await next_generation(self._database, line, self._shards.name_of(line.shard), epoch) is None:
            await self._book.refresh()
            raise Unavailable("the line moved on while it was taken over")
        await self._book.refresh()
        return self._book.get(line.event_id)

    async def _tell(self, line: Line) -> None:
        """Only now, when Valkey has it: who is told earlier would be refused."""
        async with self._database.connection() as connection:
            await self._database.queries.tell_lines_changed(connection, event_id=line.event_id)
