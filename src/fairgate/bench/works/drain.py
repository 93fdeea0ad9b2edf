"""From a line that is full to tickets in the hand: how many a second, at no rate but the pipeline's own, and what each
costs whom in CPU time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from itertools import pairwise

from fairgate.bench import cpu, proof
from fairgate.bench.load import Driver
from fairgate.bench.measured import Curve, Figure, Measured
from fairgate.bench.options import Options
from fairgate.bench.sides import FairgateSide, Side
from fairgate.bench.works.position import filled
from fairgate.errors import Unavailable

LOOK_EVERY_S = 0.1
# A drain that stands still this long will not go on.
STALL_S = 60.0
# What a process holds once it is warm; from there on it must not grow.
WARM = 0.2

Count = Callable[[str, int], Awaitable[int | None]]


class Progress:
    """How many had a ticket, and had been told, at which second; and what the processes held when they were warm."""

    def __init__(self, side: Side, event_id: str, waiting: int) -> None:
        self._side, self._event_id, self._waiting = side, event_id, waiting
        self._began = time.monotonic()
        self.tickets: list[tuple[float, int]] = [(0.0, 0)]
        self.told: list[tuple[float, int]] = [(0.0, 0)]
        self.before = side.usage()
        self.warm: Mapping[str, cpu.Usage] = {}

    async def watch(self) -> None:
        """Until everybody is told. Raises `Unavailable` when it stalls."""
        moved_at = time.monotonic()
        while self.told[-1][1] < self._waiting:
            moved = await self._look(self.tickets, self._side.tickets)
            moved |= await self._look(self.told, self._side.told)
            now = time.monotonic()
            moved_at = now if moved else moved_at
            if now - moved_at > STALL_S:
                raise Unavailable(f"the drain stands at {self.told[-1][1]} of {self._waiting}")
            if not self.warm and self.told[-1][1] > WARM * self._waiting:
                self.warm = self._side.usage()
            await asyncio.sleep(LOOK_EVERY_S)

    async def _look(self, series: list[tuple[float, int]], count: Count) -> bool:
        if series[-1][1] >= self._waiting:
            return False
        now = await count(self._event_id, self._waiting)
        if now is None:
            return False
        series.append((time.monotonic() - self._began, now))
        return now > series[-2][1]


async def measure(side: Side, driver: Driver, options: Options) -> Measured:
    await side.on()
    side.pin_api(None)
    users, _ = await driver.fans(side.target, options.waiting)
    event_id = await filled(side, driver, users)
    progress = Progress(side, event_id, len(users))
    await side.admit(event_id)
    await progress.watch()
    found = _found(side, progress, len(users))
    if isinstance(side, FairgateSide):
        wrong = await proof.wrong(side.config, event_id, users)
        found.figures.append(Figure("drain", "drained wrongly", "findings", side.name, len(wrong)))
        for finding in wrong[: proof.SHOWN]:
            options.tell(f"  ✗ {finding}")
    return found


def _found(side: Side, progress: Progress, waiting: int) -> Measured:
    after = side.usage()
    reached = {"tickets": progress.tickets}
    if side.keeps_inbox:
        reached["told"] = progress.told
    rates = [Figure("drain", what, "/s", side.name, waiting / series[-1][0]) for what, series in reached.items()]
    spent = cpu.by_kind(cpu.since(progress.before, after))
    costs = {"all": sum(spent.values()), **spent} if spent else {}
    costly = [
        Figure("drain", f"CPU a ticket, {kind}", "µs", side.name, 1e6 * spent_s / waiting)
        for kind, spent_s in costs.items()
    ]
    grown = [
        Figure("drain", f"memory gained, {name}", "MiB", side.name, after[name].memory_mib - usage.memory_mib)
        for name, usage in progress.warm.items()
        if name in after and name in side.pids()
    ]
    curves = [
        Curve(work="drain", title=f"drain: {what} a second", side=side.name, x="s", y="/s", points=_rates(series))
        for what, series in reached.items()
    ]
    return Measured([*rates, *costly, *grown], curves)


def _rates(series: list[tuple[float, int]]) -> list[tuple[float, float]]:
    """A second each, so that one look more or less makes no wave. Pure."""
    thinned = [series[0]]
    for point in series[1:]:
        if point[0] - thinned[-1][0] >= 1.0:
            thinned.append(point)
    return [(new[0], (new[1] - old[1]) / (new[0] - old[0])) for old, new in pairwise(thinned)]
