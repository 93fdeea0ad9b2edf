"""R7, the quorum: its leader dies, its majority is gone for a minute, and then a broker dies as well."""

from __future__ import annotations

import asyncio
import time

from fairgate.chaos.measures import (
    leader_of_issues,
    longest_gap_s,
    now,
    settle_time_s,
    tickets,
    whole_again_s,
)
from fairgate.chaos.scenario import Scenario, Site, Timeline
from fairgate.chaos.settings import APART
from fairgate.errors import Unavailable

LOST_S, LOST_QUICK_S = 60.0, 12.0
ELECTED_S, GAP_S, RECOVERED_S, WHOLE_S = 10.0, 5.0, 30.0, 120.0
WITHOUT_JOIN_S = 5.0


async def run(site: Site, timeline: Timeline) -> None:
    """1 the leading controller dies, 2 two of three stand still, 3 and a broker dies meanwhile."""
    await _leader(site, timeline)
    await _majority(site, timeline)
    await _majority_and_broker(site, timeline)


async def _leader(site: Site, timeline: Timeline) -> None:
    leader = site.cluster.quorum_leader()
    began = await now(site)
    async with timeline.fault(f"controller-{leader}, which leads the quorum, killed (SIGKILL)"):
        await site.kill(f"controller-{leader}")

        async def another() -> bool:
            return site.cluster.quorum_leader() not in {leader, None}

        timeline.bound(
            "another controller leads", await timeline.until(another, 30.0, "a new quorum leader"), ELECTED_S
        )
    timeline.bound("longest stall, controller killed", await longest_gap_s(site, began), GAP_S)
    await site.start(f"controller-{leader}")


async def _majority(site: Site, timeline: Timeline) -> None:
    """The leaders that there are go on; only nothing can change any more."""
    lost_s = LOST_QUICK_S if timeline.quick else LOST_S
    frozen = _majority_of(site)
    since, began, tickets_before = time.monotonic(), await now(site), await tickets(site)
    async with timeline.fault(f"the quorum is lost: {' and '.join(frozen)} frozen (SIGSTOP) for {lost_s:.0f} s"):
        for controller in frozen:
            site.freeze(controller)
        await asyncio.sleep(lost_s)
        joins_s, gap_s = timeline.longest_stall_s("joins", since), await longest_gap_s(site, began)
        timeline.note(f"{await tickets(site) - tickets_before} tickets without a quorum")
        for controller in frozen:
            site.thaw(controller)
    timeline.bound("longest time without a join, quorum lost", joins_s, WITHOUT_JOIN_S)
    timeline.bound("tickets go on without a quorum: longest stall", gap_s, GAP_S)
    await settle_time_s(site, timeline, RECOVERED_S)


async def _majority_and_broker(site: Site, timeline: Timeline) -> None:
    """Nobody can give the dead broker's partitions to another; the outbox holds what cannot be sent."""
    lost_s = LOST_QUICK_S if timeline.quick else LOST_S
    frozen, broker = _majority_of(site), f"kafka-{await leader_of_issues(site)}"
    since = time.monotonic()
    async with timeline.fault(f"the quorum is lost and {broker} is dead, for {lost_s:.0f} s"):
        for controller in frozen:
            site.freeze(controller)
        await site.kill(broker)
        await asyncio.sleep(lost_s)
        joins_s = timeline.longest_stall_s("joins", since)
        for controller in frozen:
            site.thaw(controller)
        site.child(broker).start()
    timeline.bound("longest time without a join, quorum lost and a broker", joins_s, WITHOUT_JOIN_S)
    await _recovered(site, timeline)
    await whole_again_s(site, timeline, WHOLE_S)


async def _recovered(site: Site, timeline: Timeline) -> None:
    """First a new ticket of the busiest event, then all that had gathered."""
    began = await now(site)

    async def tickets_again() -> bool:
        try:
            return await longest_gap_s(site, began) < (await now(site) - began).total_seconds() - 0.05
        except Unavailable:
            return False

    again_s = await timeline.until(tickets_again, 2 * RECOVERED_S, "tickets again")
    timeline.bound("tickets again after healing", again_s, RECOVERED_S)
    took_s = await settle_time_s(site, timeline, 4 * RECOVERED_S)
    timeline.bound("everybody admitted has the ticket after healing", again_s + took_s, RECOVERED_S)


def _majority_of(site: Site) -> list[str]:
    """Two of three, the leader among them."""
    leader = site.cluster.quorum_leader() or 1
    others = [number for number in (1, 2, 3) if number != leader]
    return [f"controller-{leader}", f"controller-{others[0]}"]


SCENARIO = Scenario(
    risk="R7",
    title="Quorum lost",
    about="Three controllers apart from the brokers: the leader dies, two stand still, and a broker dies too.",
    settings=APART,
    run=run,
)
