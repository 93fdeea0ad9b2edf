"""R5, order: a relay that dies in the middle of a batch, two that both believe, one that wakes up too late."""

from __future__ import annotations

import asyncio
import random

from fairgate.chaos.measures import outbox_drained_s, settle_time_s, unsent
from fairgate.chaos.scenario import Scenario, Site, Timeline
from fairgate.chaos.settings import PROXIED
from fairgate.errors import Unavailable

KILLS, KILLS_QUICK = 8, 2
# Rows that gather while nobody publishes become one large batch.
GATHER_S, GATHERED = 10.0, 100
ROUNDS, ROUNDS_QUICK = 10, 3
# A lease lasts 5 s.
BEYOND_LEASE_S = 8.0
SETTLED_S = 60.0

_TAKE_AWAY = [
    "update leases set until = '-infinity' where name like 'outbox:%' and owner = $1",
    "update slots set until = '-infinity' where role = 'relay' and owner = $1",
]


async def run(site: Site, timeline: Timeline) -> None:
    """1 killed in mid-batch, 2 two relays forced, 3 an old lease holder wakes up. The checker reads the order."""
    await _killed_in_mid_batch(site, timeline)
    await _two_forced(site, timeline)
    await _old_holder(site, timeline)


async def _killed_in_mid_batch(site: Site, timeline: Timeline) -> None:
    kills = KILLS_QUICK if timeline.quick else KILLS
    relays = site.names("relay")
    async with timeline.fault(f"relays killed (SIGKILL) {kills} times in the middle of a batch"):
        for turn in range(kills):
            for relay in relays:
                site.freeze(relay)
            await timeline.until(lambda: _gathered(site), GATHER_S, "rows gather in the outbox")
            for relay in relays:
                site.thaw(relay)
            await asyncio.sleep(random.uniform(0.002, 0.05))
            site.crash(relays[turn % len(relays)])
            await asyncio.sleep(2.0)
    timeline.bound("outbox drained after the kills", await outbox_drained_s(site, timeline, SETTLED_S), SETTLED_S)


async def _gathered(site: Site) -> bool:
    return await unsent(site) >= GATHERED


async def _two_forced(site: Site, timeline: Timeline) -> None:
    """The lease is taken away in SQL: the other takes it while this one still believes in its own deadline."""
    rounds = ROUNDS_QUICK if timeline.quick else ROUNDS
    relays = site.names("relay")
    async with timeline.fault(f"the lease taken from a relay that works, {rounds} times: two publish at once"):
        for turn in range(rounds):
            await steal_leases(site, relays[turn % len(relays)])
            await asyncio.sleep(2.0)
    timeline.bound("outbox drained after two relays", await outbox_drained_s(site, timeline, SETTLED_S), SETTLED_S)


async def _old_holder(site: Site, timeline: Timeline) -> None:
    for relay in site.names("relay"):
        async with timeline.fault(f"{relay} frozen (SIGSTOP) for {BEYOND_LEASE_S:.0f} s, beyond its lease"):
            site.freeze(relay)
            await asyncio.sleep(BEYOND_LEASE_S)
            site.thaw(relay)
        took_s = await settle_time_s(site, timeline, SETTLED_S)
        timeline.bound(f"settled after {relay} woke up", took_s, SETTLED_S)


async def steal_leases(site: Site, owner: str) -> None:
    """As if this relay's time were up; it renews or loses them within two seconds."""
    try:
        for statement in _TAKE_AWAY:
            await site.databases.sql(statement, owner)
    except Unavailable:  # PostgreSQL is away at this very moment: then nobody's lease can be taken either
        return


SCENARIO = Scenario(
    risk="R5",
    title="Order broken",
    about="Relays die in mid-batch, two publish the same rows at once, an old lease holder wakes up.",
    settings=PROXIED,
    run=run,
)
