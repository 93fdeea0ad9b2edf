"""R1, consumer lag: nobody works for a minute, then everybody works slowly."""

from __future__ import annotations

import asyncio

from fairgate.chaos.measures import settle_time_s
from fairgate.chaos.scenario import Scenario, Site, Timeline
from fairgate.chaos.settings import PROXIED

STOPPED_S, STOPPED_QUICK_S = 60.0, 15.0
SLOW_S, SLOW_QUICK_S, SLOWER_BY_S = 30.0, 8.0, 0.2
# Of the acceptance list: every admission is settled within this after the stop.
SETTLED_S = 60.0


async def run(site: Site, timeline: Timeline) -> None:
    """1 all ticketing processes freeze, 2 they wake up and catch up, 3 SQL answers slowly, 4 and quickly again."""
    workers = site.names("ticketing")
    stopped_s = STOPPED_QUICK_S if timeline.quick else STOPPED_S
    async with timeline.fault(f"all {len(workers)} ticketing processes frozen (SIGSTOP) for {stopped_s:.0f} s"):
        for worker in workers:
            site.freeze(worker)
        await asyncio.sleep(stopped_s)
        for worker in workers:
            site.thaw(worker)
    timeline.bound("every admission settled after the stop", await settle_time_s(site, timeline, SETTLED_S), SETTLED_S)
    slow_s = SLOW_QUICK_S if timeline.quick else SLOW_S
    async with timeline.fault(f"SQL answers {SLOWER_BY_S * 1000:.0f} ms later, each way, for {slow_s:.0f} s"):
        site.network.delay("postgres", SLOWER_BY_S)
        await asyncio.sleep(slow_s)
        site.network.heal()
    timeline.bound("settled after slow SQL", await settle_time_s(site, timeline, SETTLED_S), SETTLED_S)


SCENARIO = Scenario(
    risk="R1",
    title="Consumer lag",
    about="All ticketing processes stand still for a minute under load, then SQL answers slowly.",
    settings=PROXIED,
    run=run,
)
