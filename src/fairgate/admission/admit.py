"""The round of admission, in the order of the package's head: who may pass, claim, write, clear."""

from __future__ import annotations

import asyncio
import math
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

# Where nothing can pass, look again this often; a returned ticket rings at once. What an operator ends comes with new
# settings, and those make the line due.
BLOCKED_S, PAUSED_S = 0.25, 5.0

# A round looks at each line that is ours: the more, the further apart they begin. Of one nobody waits for it.
LINE_S = 0.00005

# Lines that are admitted together. Of many, the next are claimed while these are written.
TOGETHER_MAX = 100

_DECIDED = {bound: telemetry.ADMISSION_BOUND.labels(bound.value) for bound in Bound}


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
        self._rests_until = float("-inf")

    def someone_joined(self, event_id: str) -> None:
        """An empty line has a waiter now."""
        owned = self._owner.get(event_id)
        if owned is not None:
            owned.waiting, owned.stirred = max(1, owned.waiting), True
            owned.make_due()
        self.wake.set()

    def stock_changed(self, event_id: str) -> None:
        """A ticket came back, or the settings changed."""
        owned = self._owner.get(event_id)
        if owned is not None:
            owned.stock.read_at = float("-inf")
            owned.make_due()
            if owned.line.sold_out:
                self._returned.add(event_id)
        self.wake.set()

    async def run_once(self) -> bool:
        await asyncio.sleep(max(0.0, self._rests_until - time.monotonic()))
        self._rests_until = time.monotonic() + LINE_S * len(self._owner.lines)
        await self._owner.take_over()
        await self._owner.settle()
        await self._owner.sweep()
        await self._reopen()
        busy = [owned for owned in self._owner.lines if owned.has_someone and not owned.recovering]
        now = time.monotonic()
        due = [owned for owned in busy if owned.due_at <= now]
        if due:
            await self._look(due, now)
        await self._show()
        next_at = min((owned.due_at for owned in busy if owned.has_someone), default=math.inf)
        self.idle_s = max(0.0, min(IDLE_S, next_at - time.monotonic()))
        return self.idle_s == 0.0

    async def _look(self, due: Sequence[Owned], now: float) -> None:
        """Whoever can pass does. The other lines are left alone: of a thousand, few have a token just now."""
        for owned in due:
            owned.due_at = now
        await self._read_load(due)
        share, _ = self._bounds.slowed(self._load)
        for owned in [owned for owned in due if is_over(owned)]:
            owned.bound = Bound.NONE
            self.signals["departed"].fire(await depart(self._steps, owned))
        paces = [(owned, self._pace(owned, share)) for owned in due if not is_over(owned)]
        passing = [(owned, pace) for owned, pace in paces if pace.places > 0]
        if passing:
            await self._admit(passing)
        ended = time.monotonic()
        for owned, pace in paces:
            if owned.due_at == now:  # nobody has rung meanwhile
                owned.due_at = ended + _wait_s(owned, pace, share)

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
        _DECIDED[pace.bound].inc()
        owned.bound = pace.bound
        return pace

    async def _show(self) -> None:
        """Which bound decides in each line. Seldom: a bound may change with every round."""
        now, due = time.monotonic(), []
        for owned in self._owner.lines:
            if not owned.has_someone or owned.recovering:
                owned.bound = Bound.NONE
            if owned.bound != owned.shown and now - owned.shown_at >= SHOWN_S:
                owned.shown_at = now
                due.append(self._steps.show(owned))
        await asyncio.gather(*due)

    async def _read_load(self, due: Sequence[Owned]) -> None:
        now = time.monotonic()
        stale = [owned for owned in due if now - owned.stock.read_at >= STOCK_S]
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
        parts = [passing[start : start + TOGETHER_MAX] for start in range(0, len(passing), TOGETHER_MAX)]
        ended = await asyncio.gather(*map(self._admit_together, parts), return_exceptions=True)
        for error in filter(None, ended):
            raise error

    async def _admit_together(self, passing: Sequence[tuple[Owned, Pace]]) -> None:
        claimed = await self._steps.claim_each([(owned, pace.places) for owned, pace in passing])
        batches = [(owned, claims) for (owned, _), claims in zip(passing, claimed, strict=True) if claims]
        if batches:
            became = await self._steps.admit(batches)
            await self._settle(
                [(owned, became[name]) for owned, _ in batches if (name := owned.line.event_id) in became]
            )

    async def _settle(self, settled: Sequence[tuple[Owned, Admitted]]) -> None:
        """Step 5. Who found nothing to reserve stays claimed: first next time."""
        for owned, one in settled:
            owned.stock.spend(one.admitted)
            if one.held:
                owned.stock.read_at = float("-inf")
        failpoint("admission.rung")
        await self._steps.clear_each("admitted", settled)
        failpoint("admission.cleared")
        count = sum(one.admitted for _, one in settled)
        telemetry.ADMISSIONS.inc(count)
        self.signals["admitted"].fire(count)


def _wait_s(owned: Owned, pace: Pace, share: float) -> float:
    """Until the next whole token, or until a look at what blocks; not at all where more could pass at once: the batch
    was full, or somebody joined before the claim, unheard.
    """
    if pace.bound is Bound.BATCH or (pace.bound is Bound.NONE and owned.has_someone):
        return 0.0
    if pace.bound is Bound.RATE:
        return max(TICK_S, next_token_s(owned.stock.tokens, owned.line.rate))
    if pace.bound.slows and share > 0:
        return min(BLOCKED_S, max(TICK_S, next_token_s(owned.stock.tokens, owned.line.rate * share)))
    return PAUSED_S if pace.bound is Bound.OPERATOR else BLOCKED_S
