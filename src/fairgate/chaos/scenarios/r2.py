"""R2, rebalancing storm: members that come and go, and members that are there and do nothing."""

from __future__ import annotations

import asyncio
import time

from fairgate.chaos.measures import Revocations, settle_time_s
from fairgate.chaos.scenario import Scenario, Site, Timeline
from fairgate.chaos.settings import PROXIED
from fairgate.failpoints import ENVIRONMENT

RESTART_EVERY_S, RESTARTS, RESTARTS_QUICK = 10.0, 18, 2
SETTLED_S = 60.0
# A session that ended, the hand-over, and what had gathered until then.
TAKEN_OVER_S = 30.0
# So long beyond `max.poll.interval` the others work without it.
BEYOND_S, BEYOND_QUICK_S = 15, 6


async def run(site: Site, timeline: Timeline) -> None:
    """1 one restarts again and again, 2 one is gone for good, 3 one polls no more, 4 one wakes up as a zombie."""
    config = site.config
    timeline.note(f"session {config.group_session_s} s, max.poll.interval {config.max_poll_interval_s} s")
    first, second, third = site.names("ticketing")
    await _restarts(site, timeline, first, [second, third])
    await _gone(site, timeline, first)
    await _stalled(site, timeline, second, back=first)
    await _zombie(site, timeline, third)


async def _restarts(site: Site, timeline: Timeline, restarted: str, others: list[str]) -> None:
    revocations = Revocations(site, others)
    times = RESTARTS_QUICK if timeline.quick else RESTARTS
    async with timeline.fault(f"{restarted} restarted {times} times, every {RESTART_EVERY_S:.0f} s"):
        for turn in range(times):
            began = time.monotonic()
            if turn % 2:
                site.crash(restarted)
                await site.wait_ready(restarted)
            else:
                await site.restart(restarted)
            await asyncio.sleep(max(0.0, began + RESTART_EVERY_S - time.monotonic()))
    timeline.bound("revocations on the other members", revocations.count(), 0, unit="")
    await settle_time_s(site, timeline, SETTLED_S)


async def _gone(site: Site, timeline: Timeline, gone: str) -> None:
    """Nobody brings it back: the others take its partitions when its session ends."""
    limit_s = site.config.group_session_s + TAKEN_OVER_S
    async with timeline.fault(f"{gone} gone for good"):
        await site.kill(gone)
        timeline.bound("its partitions taken over", await settle_time_s(site, timeline, limit_s * 2), limit_s)


async def _stalled(site: Site, timeline: Timeline, stalled: str, back: str) -> None:
    """The failpoint stands in the thread that polls; heartbeats have their own: only `max.poll.interval` notices.

    `back` starts at the same time: it was gone.
    """
    interval_s = site.config.max_poll_interval_s
    stall_s = interval_s + (BEYOND_QUICK_S if timeline.quick else BEYOND_S)
    armed = {ENVIRONMENT: f"consumer.polled=stall:{stall_s}@1"}
    await asyncio.gather(site.start(back), site.restart(stalled, env=armed))
    async with timeline.fault(f"the poll loop of {stalled} stalls for {stall_s} s, its heartbeats go on"):
        await asyncio.sleep(stall_s)
    limit_s = SETTLED_S
    timeline.bound("settled after the stalled poll loop", await settle_time_s(site, timeline, limit_s), limit_s)


async def _zombie(site: Site, timeline: Timeline, zombie: str) -> None:
    """What it holds in hand when it wakes up belongs to others since long."""
    frozen_s = site.config.group_session_s + 5.0
    async with timeline.fault(f"{zombie} frozen (SIGSTOP) for {frozen_s:.0f} s, beyond its session"):
        site.freeze(zombie)
        await asyncio.sleep(frozen_s)
        site.thaw(zombie)
    timeline.bound("settled after the zombie woke up", await settle_time_s(site, timeline, SETTLED_S), SETTLED_S)


SCENARIO = Scenario(
    risk="R2",
    title="Rebalancing storm",
    about="Ticketing processes restart, disappear, stop polling while they heartbeat, and wake up as zombies.",
    settings=PROXIED,
    run=run,
)
