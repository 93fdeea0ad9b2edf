"""Reads of places a second."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import uuid4

from fairgate.bench.load import Driver
from fairgate.bench.measured import Measured, of_requests
from fairgate.bench.options import Options
from fairgate.bench.samples import Sample
from fairgate.bench.sides import API_CORE, Side
from fairgate.bench.works.join import CONNECTIONS
from fairgate.errors import Unavailable

ROLES = ("api", "admission")
# Filling ends when all have joined; a slow machine needs minutes for a million.
FILL_S = 600.0


async def measure(side: Side, driver: Driver, options: Options) -> Measured:
    """Each user who waits in turn, over and over."""
    await side.on(ROLES)
    side.pin_api(API_CORE)
    users, _ = await driver.fans(side.target, options.waiting)
    event_id = await filled(side, driver, users)
    found = Measured()
    for connections in CONNECTIONS:
        sample = await positions(side, driver, event_id, connections=connections, seconds=options.seconds, users=users)
        found += of_requests("position", f"positions, {connections} connections", side.name, sample)
    return found


async def filled(side: Side, driver: Driver, users: Sequence[str]) -> str:
    """A line that admits nobody, and in which all of these wait. Raises `Unavailable`."""
    event_id = await side.open_line(f"bench-{uuid4().hex[:8]}", paused=True)
    requests = (side.target.join(event_id, user) for user in users)
    sample = await driver.load(side.target.api, requests, connections=64, seconds=FILL_S)
    if sample.ok != len(users):
        raise Unavailable(f"{sample.ok} of {len(users)} joined")
    return event_id


async def positions(
    side: Side, driver: Driver, event_id: str, *, connections: int, seconds: float, users: Sequence[str]
) -> Sample:
    requests = (side.target.position(event_id, user) for user in users)
    return await driver.load(side.target.api, requests, connections=connections, seconds=seconds, again=True)
