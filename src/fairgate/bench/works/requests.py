"""Joins, positions and sessions a second: closed loop for how much passes, open loop for how it feels."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from uuid import uuid4

from fairgate.bench.load import Driver
from fairgate.bench.samples import Sample
from fairgate.bench.sides import Side

# More than any side asks in a second on one core: who runs out of fans measures the end of the list.
FANS_PER_S = 60_000


async def joins(side: Side, driver: Driver, *, connections: int, seconds: float, users: Sequence[str]) -> Sample:
    """Each fan joins once, into a line that admits nobody."""
    event_id = f"bench-{uuid4().hex[:8]}"
    await side.open_line(event_id, paused=True)
    requests = (side.target.join(event_id, user) for user in users)
    return await driver.load(side.target.api, requests, connections=connections, seconds=seconds)


async def positions(
    side: Side, driver: Driver, *, connections: int, seconds: float, waiting: int, users: Sequence[str]
) -> Sample:
    """Reads of places in a line of `waiting`, each user in turn, over and over."""
    event_id = f"bench-{uuid4().hex[:8]}"
    await side.open_line(event_id, paused=True)
    there = list(islice(users, waiting))
    filled = await driver.load(
        side.target.api, (side.target.join(event_id, user) for user in there), connections=64, seconds=120.0
    )
    assert filled.ok == len(there), f"{filled.ok} of {len(there)} joined"
    requests = (side.target.position(event_id, user) for user in there)
    return await driver.load(side.target.api, requests, connections=connections, seconds=seconds, again=True)
