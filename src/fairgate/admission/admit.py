"""The round of admission, in the order of the package's head: who may pass, claim, write, clear."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import msgspec

from fairgate import telemetry
from fairgate.admission.depart import depart, is_over
from fairgate.admission.owner import Owned, Owner
from fairgate.admission.pace import Bound, Bounds, Load, Pace, next_token_s, places_to_open
from fairgate.admission.steps import Admitted, Steps
from fairgate.failpoints import failpoint
from fairgate.lifecycle import Service
from fairgate.stores.database import Database, translated
from fairgate.stores.line import LineStore
from fairgate.stores.outbox import OutboxBell

# One statement of this many takes well below a lease; more in one would only make the next wait.
BATCH_MAX = 1_000

# A rate above this many a second is met by several at once: a commit for each would cost more than it brings.
TICK_S = 0.01

# How old the figures that only slow admission down may be.
STOCK_S, LOAD_S = 0.1, 0.25

# A lag that nobody has measured for so long is unknown, and unknown slows nobody: whatever keeps the measuring process
# from Kafka keeps the relay, which shares its role, from it too, so that the outbox's age decides; and the admissions
# on their way are bounded without anybody's measuring.
LAG_FRESH_S = 10.0

# A wiped server refuses all joins until somebody looks; a grace time ends when somebody looks.
IDLE_S = 0.5

# The board is read each second.
SHOWN_S = 0.5

# Where nothing can pass, look again this often; a returned ticket rings at once.
BLOCKED_S = 0.25


class Admission(Service):
    """One process's part of the lines. Signals: `admitted` (count), `departed` (count)."""

    name = "admission"

    def __init__(
        self,
        database: Database,
        owner: Owner,
        store: LineStore,
        bell: OutboxBell,
        *,
        bounds: Bounds,
    ) -> None:
        super().__init__()
        self._database, self._owner = database, owner
        self._steps = Steps(database, owner, store, bell)
        self._bounds, self._load, self._load_at = bounds, Load(), float("-inf")
        self._returned: set[str] = set()

    def someone_joined(self, event_id: str) -> None:
        """An empty line has a waiter now."""
        owned = self._owner.get(event_id)
        if owned is not None:
            owned.waiting, owned.stirred = max(1, owned.waiting), True
        self.wake.set()

    def stock_changed(self, event_id: str) -> None:
        """A ticket came back, or the settings changed."""
        owned = self._owner.get(event_id)
        if owned is not None:
            owned.stock.read_at = float("-inf")
            if owned.line.sold_out:
                self._returned.add(event_id)
        self.wake.set()

    async def run_once(self) -> bool:
        await self._owner.take_over()
        await self._owner.settle()
        await self._owner.sweep()
        await self._reopen()
        busy = [owned for owned in self._owner.lines if owned.has_someone and not owned.recovering]
        if not busy:
            await self._show([])
            self.idle_s = IDLE_S
            return False
        await self._read_load(busy)
        share, _ = self._bounds.slowed(self._load)
        paces = [(owned, self._pace(owned, share)) for owned in busy if not is_over(owned)]
        passing = [(owned, pace) for owned, pace in paces if pace.places > 0]
        over = [owned for owned in busy if is_over(owned)]
        for owned in over:
            self.signals["departed"].fire(await depart(self._steps, owned))
        if passing:
            await self._admit(passing)
        await self._show(paces)
        self.idle_s = _pause_s(paces, share)
        return bool(over) or any(_is_not_done(owned, pace) for owned, pace in passing)

    async def teardown(self) -> None:
        await self._steps.close()

    # ---- 2 pace

    def _pace(self, owned: Owned, share: float) -> Pace:
        owned.stock.refill(owned.line, share)
        pace = places_to_open(
            state=owned.line.state,
            waiting=owned.waiting + owned.claims,
            remaining=owned.stock.remaining,
            tokens=owned.stock.tokens,
            load=msgspec.structs.replace(self._load, unsettled=owned.stock.unsettled),
            bounds=self._bounds,
            batch_max=BATCH_MAX,
        )
        telemetry.ADMISSION_BOUND.labels(pace.bound.value).inc()
        return pace

    async def _show(self, paces: Sequence[tuple[Owned, Pace]]) -> None:
        """Which bound decides in each line. Seldom: a bound may change with every round."""
        decided = {owned.line.event_id: pace.bound for owned, pace in paces}
        now, due = time.monotonic(), []
        for owned in self._owner.lines:
            owned.bound = decided.get(owned.line.event_id, Bound.NONE)
            if owned.bound != owned.shown and now - owned.shown_at >= SHOWN_S:
                owned.shown_at = now
                due.append(self._steps.show(owned))
        await asyncio.gather(*due)

    async def _read_load(self, busy: Sequence[Owned]) -> None:
        now = time.monotonic()
        stale = [owned for owned in busy if now - owned.stock.read_at >= STOCK_S]
        connection = await self._steps.connection()
        with translated():
            if stale:
                rows = await self._database.queries.stocks(connection, events=[owned.line.event_id for owned in stale])
                found = {row["event_id"]: row for row in rows}
                for owned in stale:
                    owned.stock.read(found[owned.line.event_id], now)
            if now - self._load_at >= LOAD_S:
                row = await self._database.queries.pipeline_load(connection, fresh_s=LAG_FRESH_S)
                self._load, self._load_at = Load(**row), now
        for owned in stale:
            await self._mark_if_sold_out(owned)

    async def _mark_if_sold_out(self, owned: Owned) -> None:
        """Every ticket is final: who still waits is told (Sold out)."""
        stock = owned.stock
        if stock.capacity is None or stock.confirmed < stock.capacity or owned.line.sold_out:
            return
        async with self._database.transaction() as connection:
            await self._database.queries.mark_sold_out(connection, event_id=owned.line.event_id)
            await self._database.queries.tell_lines_changed(connection, event_id=owned.line.event_id)
        failpoint("admission.sold_out")

    async def _reopen(self) -> None:
        """A ticket of a sold-out line came back: who comes now may wait for it."""
        while self._returned:
            event_id = next(iter(self._returned))
            async with self._database.transaction() as connection:
                if await self._database.queries.reopen_line(connection, event_id=event_id):
                    await self._database.queries.tell_lines_changed(connection, event_id=event_id)
            self._returned.discard(event_id)

    # ---- 3, 4, 5

    async def _admit(self, passing: Sequence[tuple[Owned, Pace]]) -> None:
        claimed = await asyncio.gather(*(self._steps.claim(owned, pace.places) for owned, pace in passing))
        batches = [(owned, claims) for (owned, _), claims in zip(passing, claimed, strict=True) if claims]
        if batches:
            became = await self._steps.admit(batches)
            await asyncio.gather(
                *(
                    self._settle(owned, became[owned.line.event_id])
                    for owned, _ in batches
                    if owned.line.event_id in became
                )
            )

    async def _settle(self, owned: Owned, became: Admitted) -> None:
        """Step 5 for one line. Who found nothing to reserve stays claimed: first next time."""
        owned.stock.spend(became.admitted)
        if became.held:
            owned.stock.read_at = float("-inf")
        failpoint("admission.rung")
        await self._steps.clear(owned, "admitted", became.outcomes, held=became.held)
        failpoint("admission.cleared")
        telemetry.ADMISSIONS.inc(became.admitted)
        self.signals["admitted"].fire(became.admitted)


def _pause_s(paces: Sequence[tuple[Owned, Pace]], share: float) -> float:
    """Until the next whole token of any line, or until a look at what blocks."""
    return min((_wait_s(owned, pace, share) for owned, pace in paces if owned.has_someone), default=IDLE_S)


def _wait_s(owned: Owned, pace: Pace, share: float) -> float:
    if pace.bound in (Bound.RATE, Bound.BATCH):
        return max(TICK_S, next_token_s(owned.stock.tokens, owned.line.rate))
    if pace.bound.slows and share > 0:
        return min(BLOCKED_S, max(TICK_S, next_token_s(owned.stock.tokens, owned.line.rate * share)))
    return BLOCKED_S


def _is_not_done(owned: Owned, pace: Pace) -> bool:
    """More could pass at once: the batch was full, or somebody joined before the claim, unheard."""
    return pace.bound is Bound.BATCH or (pace.bound is Bound.NONE and owned.has_someone)
