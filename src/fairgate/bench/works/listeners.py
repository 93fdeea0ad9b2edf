"""Many fans at the sockets of one live process: how old the place is that each was last told, and what pushes cost.

The line moves at a steady rate. Every quarter of a second each fan who still waits is asked how old its place is; the
truth of who stands where follows from the order in which they joined and from who has been admitted.
"""

from __future__ import annotations

import asyncio
import time
from array import array
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from fairgate.bench import cpu, sockets
from fairgate.bench.load import Driver
from fairgate.bench.measured import Figure, Measured
from fairgate.bench.options import Options
from fairgate.bench.sides import FairgateSide, Side
from fairgate.bench.until import until
from fairgate.checker.facts import percentile
from fairgate.errors import Unavailable

# The next hundred are told each second, so the line has to be much longer than that for anybody else to be there.
NEXT = 100
LOOK_EVERY_S = 0.25
# Of all who wait: the line must not run empty while it is watched.
SHARE_ADMITTED = 0.2
WATCH_S = 40.0
# State to everybody, twice: the line is paused and opened again.
ALL_TOLD_S = 60.0


class Fan:
    """When this one was last told a place, and when a state. A place may be wrong: its age is the question."""

    def __init__(self, user_id: str) -> None:
        self.user_id = user_id
        self.placed_at = self.stated_at = 0.0
        self.waits = True

    def hear(self, name: str, payload: Any) -> None:
        now = time.perf_counter()
        if name == "queue:position":
            self.placed_at = now
            self.waits = payload["status"] == "waiting"
        elif name == "queue:state":
            self.stated_at = now
        elif name == "ticket:issued":
            self.waits = False


async def measure(side: Side, driver: Driver, options: Options) -> Measured:
    assert isinstance(side, FairgateSide)
    await side.on()
    side.pin_api(None)
    event_id = await side.open_line(f"bench-{uuid4().hex[:8]}", paused=True)
    users, _ = await driver.fans(side.target, options.watchers)
    crowd = [Fan(user) for user in users]
    await _join(side, driver, event_id, users)
    async with sockets.session() as http:
        began = time.perf_counter()
        ears = await sockets.connect_all(
            [sockets.Socket(http, side.target, fan.user_id, fan.hear) for fan in crowd], event_id
        )
        took_s = time.perf_counter() - began
        try:
            found = Measured([Figure("listeners", "connected", "/s", side.name, len(crowd) / took_s)])
            found.figures += await _pushes(side, event_id, crowd)
            found.figures += await _ages(side, event_id, crowd, watch_s=WATCH_S * min(1.0, options.seconds / 4))
        finally:
            await sockets.end(ears)
    return found


async def _join(side: Side, driver: Driver, event_id: str, users: Sequence[str]) -> None:
    """One after the other, so that their order is known."""
    requests = (side.target.join(event_id, user) for user in users)
    sample = await driver.load(side.target.api, requests, connections=1, seconds=ALL_TOLD_S)
    if sample.ok != len(users):
        raise Unavailable(f"{sample.ok} of {len(users)} joined")


# ---- what a push costs


async def _pushes(side: FairgateSide, event_id: str, crowd: Sequence[Fan]) -> list[Figure]:
    """Everybody is told of a new state; with it comes each one's place."""
    before, began = side.usage(), time.perf_counter()
    await side.lines.change(event_id, title="told to everybody", rate=_slow(crowd), burst=1)
    changed = time.perf_counter()

    async def all_told() -> bool:
        return all(min(fan.stated_at, fan.placed_at) > changed for fan in crowd)

    await until(all_told, ALL_TOLD_S, "a push to everybody")
    last = max(max(fan.stated_at, fan.placed_at) for fan in crowd)
    spent = cpu.since(before, side.usage()).get("live-0")
    pushes = 2 * len(crowd)
    figures = [
        Figure("listeners", "everybody told of a change", "s", side.name, last - began),
    ]
    if spent:
        figures.append(Figure("listeners", "pushes, one core", "/s", side.name, pushes / spent))
    return figures


def _slow(crowd: Sequence[Fan]) -> float:
    return max(1.0, SHARE_ADMITTED * len(crowd) / WATCH_S)


# ---- how old a place is


async def _ages(side: FairgateSide, event_id: str, crowd: Sequence[Fan], *, watch_s: float) -> list[Figure]:
    await side.admit(event_id)
    await asyncio.sleep(2.0)  # what was due at the change of state has been told
    before, began = side.usage(), time.perf_counter()
    near, far = array("d"), array("d")
    while time.perf_counter() - began < watch_s:
        await asyncio.sleep(LOOK_EVERY_S)
        now = time.perf_counter()
        waiting = [now - fan.placed_at for fan in crowd if fan.waits]
        near.extend(waiting[:NEXT])
        far.extend(waiting)
    took_s = time.perf_counter() - began
    spent = cpu.since(before, side.usage()).get("live-0")
    figures = [
        Figure("listeners", f"age of the place, {who}, {name}", "s", side.name, value)
        for who, ages in ((f"next {NEXT}", near), ("all", far))
        for name, value in (("p99", percentile(sorted(ages), 0.99)), ("most", max(ages)))
    ]
    if spent is not None:
        figures.append(Figure("listeners", "live process", "% of a core", side.name, 100 * spent / took_s))
    return figures
