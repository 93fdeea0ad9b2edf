"""From a line that is full to tickets in the hand: how many a second, at no rate but the pipeline's own."""

from __future__ import annotations

import asyncio
import time
from uuid import uuid4

import msgspec

from fairgate.bench.load import Driver
from fairgate.bench.sides import Side
from fairgate.errors import Unavailable

LOOK_EVERY_S = 0.1
# A drain that stands still this long will not go on.
STALL_S = 60.0


class Drained(msgspec.Struct, frozen=True, kw_only=True):
    """Rates count from the moment admission was let go."""

    waiting: int
    first_s: float
    issued_s: float
    told_s: float

    @property
    def tickets_per_s(self) -> float:
        return self.waiting / self.issued_s

    @property
    def told_per_s(self) -> float:
        return self.waiting / self.told_s


async def drain(side: Side, driver: Driver, waiting: int) -> Drained:
    """Raises `Unavailable` when it stalls."""
    event_id = f"bench-{uuid4().hex[:8]}"
    await side.open_line(event_id, paused=True)
    users, _ = await driver.fans(side.target, waiting)
    filled = await driver.load(
        side.target.api, (side.target.join(event_id, user) for user in users), connections=64, seconds=600.0
    )
    if filled.ok != waiting:
        raise Unavailable(f"{filled.ok} of {waiting} joined")
    began = time.monotonic()
    await side.admit(event_id)
    first_s = await _until(side.tickets, event_id, 1, began)
    issued_s = await _until(side.tickets, event_id, waiting, began)
    told_s = await _until(side.told, event_id, waiting, began)
    return Drained(waiting=waiting, first_s=first_s, issued_s=issued_s, told_s=told_s)


async def _until(count: object, event_id: str, wanted: int, began: float) -> float:
    """Seconds since `began`."""
    last, moved_at = -1, time.monotonic()
    while (now := await count(event_id)) < wanted:  # type: ignore[operator]
        if now > last:
            last, moved_at = now, time.monotonic()
        if time.monotonic() - moved_at > STALL_S:
            raise Unavailable(f"the drain stands at {now} of {wanted}")
        await asyncio.sleep(LOOK_EVERY_S)
    return time.monotonic() - began
