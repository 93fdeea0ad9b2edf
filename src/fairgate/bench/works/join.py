"""Joins and guest sessions a second, by one API process on one core; and by two where a second core is free for it."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import uuid4

from fairgate.bench.load import Driver
from fairgate.bench.measured import Figure, Measured, of_requests
from fairgate.bench.options import Options
from fairgate.bench.samples import Sample
from fairgate.bench.sides import API_CORE, Side

# More than any side asks in a second on one core: who runs out of fans measures the end of the list.
FANS_PER_S = 60_000
CONNECTIONS = (64, 512)
# The relay, too: a join is journaled when Kafka has it, and whoever moves it there shares the machine.
ROLES = ("api", "admission", "relay")


async def measure(side: Side, driver: Driver, options: Options) -> Measured:
    await side.on(ROLES)
    side.pin_api(API_CORE)
    users, made = await driver.fans(side.target, int(FANS_PER_S * options.seconds))
    found = Measured([] if made is None else [Figure("join", "guest sessions", "/s", side.name, made.per_s)])
    for connections in CONNECTIONS:
        sample = await joins(side, driver, connections=connections, seconds=options.seconds, users=users)
        found += of_requests("join", f"joins, {connections} connections", side.name, sample)
    return found


async def joins(side: Side, driver: Driver, *, connections: int, seconds: float, users: Sequence[str]) -> Sample:
    """Each fan joins once, into a line that admits nobody."""
    event_id = await side.open_line(f"bench-{uuid4().hex[:8]}", paused=True)
    requests = (side.target.join(event_id, user) for user in users)
    return await driver.load(side.target.api, requests, connections=connections, seconds=seconds)
