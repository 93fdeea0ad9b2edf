"""R3, broker failure: it ends, dies, freezes; two go, all go; and the network between them breaks in every way."""

from __future__ import annotations

import asyncio
import time

from fairgate.chaos.measures import leader_of_issues, longest_gap_s, now, recovered_s, settle_time_s, whole_again_s
from fairgate.chaos.proxy import Way
from fairgate.chaos.scenario import Scenario, Site, Timeline
from fairgate.chaos.settings import PROXIED

# Of the acceptance list: the longest time without a ticket for the event that most stand in line for.
TERMINATED_S, KILLED_S, FROZEN_S = 3.0, 15.0, 30.0
# So long people are admitted whom only the broken leader could serve; all of them must get their tickets.
STRANDED_S = 3.0
FREEZE_S, FREEZE_QUICK_S = 30.0, 12.0
DOWN_S, DOWN_QUICK_S = 30.0, 8.0
CUT_S, CUT_QUICK_S = 30.0, 5.0
DELAYED_S = 0.25
RECOVERED_S, WHOLE_S = 60.0, 90.0


async def run(site: Site, timeline: Timeline) -> None:
    """1 one leader in three ways, 2 two brokers, 3 all at once, 4 the network."""
    await _leader_terminated(site, timeline)
    await _leader_killed(site, timeline)
    await _leader_frozen(site, timeline)
    await _brokers_down(site, timeline, 2)
    await _brokers_down(site, timeline, 3)
    await _network(site, timeline)


async def _leader_terminated(site: Site, timeline: Timeline) -> None:
    leader = await _busiest(site)
    began = await now(site)
    async with timeline.fault(f"{leader}, which leads, is asked to end (SIGTERM)"):
        site.terminate(leader)
        await asyncio.sleep(STRANDED_S)
        await settle_time_s(site, timeline, RECOVERED_S)
    timeline.bound("longest stall, broker SIGTERM", await longest_gap_s(site, began), TERMINATED_S)
    await _back(site, timeline, leader)


async def _leader_killed(site: Site, timeline: Timeline) -> None:
    leader = await _busiest(site)
    began = await now(site)
    async with timeline.fault(f"{leader}, which leads, is killed (SIGKILL)"):
        await site.kill(leader)
        await asyncio.sleep(STRANDED_S)
        await settle_time_s(site, timeline, RECOVERED_S)
    timeline.bound("longest stall, broker SIGKILL", await longest_gap_s(site, began), KILLED_S)
    await _back(site, timeline, leader)


async def _leader_frozen(site: Site, timeline: Timeline) -> None:
    """Worse than dead: its connections stay open and nothing answers."""
    leader = await _busiest(site)
    began = await now(site)
    freeze_s = FREEZE_QUICK_S if timeline.quick else FREEZE_S
    async with timeline.fault(f"{leader}, which leads, frozen (SIGSTOP) for {freeze_s:.0f} s"):
        site.freeze(leader)
        await asyncio.sleep(freeze_s)
        site.thaw(leader)
    await settle_time_s(site, timeline, RECOVERED_S)
    timeline.bound("longest stall, broker SIGSTOP", await longest_gap_s(site, began), FROZEN_S)
    await whole_again_s(site, timeline, WHOLE_S)


async def _brokers_down(site: Site, timeline: Timeline, count: int) -> None:
    """Below the least in-sync replicas nothing is acknowledged; joins do not ask for it."""
    brokers = site.names("kafka")[:count]
    down_s = DOWN_QUICK_S if timeline.quick else DOWN_S
    since = time.monotonic()
    async with timeline.fault(f"{count} of 3 brokers killed at once for {down_s:.0f} s"):
        await asyncio.gather(*(site.kill(broker) for broker in brokers))
        await asyncio.sleep(down_s)
        timeline.bound(
            f"longest time without a join, {count} brokers down", timeline.longest_stall_s("joins", since), 5.0
        )
        for broker in brokers:
            site.child(broker).start()
    healed = time.monotonic()
    took_s = await recovered_s(site, timeline, healed, 2 * RECOVERED_S)
    timeline.bound(f"tickets again after {count} brokers were down", took_s, RECOVERED_S)
    await whole_again_s(site, timeline, WHOLE_S)


async def _network(site: Site, timeline: Timeline) -> None:
    leader = await _busiest(site)
    await _cut(site, timeline, f"{leader} cut off from the other brokers", [f"{leader}-peer"], others=leader)
    await _cut(
        site, timeline, f"nothing gets to {leader} from the other brokers (one way)", [f"{leader}-peer"], "there"
    )
    await _cut(site, timeline, f"nothing gets back from {leader} to its clients (one way)", [leader], "back")
    await _cut(site, timeline, f"{leader} cut off from its clients", [leader])
    await _delayed(site, timeline)


async def _cut(
    site: Site, timeline: Timeline, what: str, links: list[str], way: Way = "both", *, others: str = ""
) -> None:
    """`others`: also what that broker asks of the others."""
    cut_s = CUT_QUICK_S if timeline.quick else CUT_S
    began = await now(site)
    async with timeline.fault(f"{what} for {cut_s:.0f} s"):
        for link in links:
            site.network.cut(link, way)
        if others:
            _cut_off_as_client(site, others)
        await asyncio.sleep(cut_s)
        site.network.heal()
    timeline.bound(f"tickets again: {what}", await settle_time_s(site, timeline, 2 * RECOVERED_S), RECOVERED_S)
    timeline.note(f"longest stall {await longest_gap_s(site, began):.1f} s: {what}")
    await whole_again_s(site, timeline, WHOLE_S)


def _cut_off_as_client(site: Site, broker: str) -> None:
    """What the others would answer to this broker: its fetchers name it."""
    number = broker.rpartition("-")[2]
    for link in site.names("kafka"):
        if link != broker:
            site.network.cut(f"{link}-peer", source=f"broker-{number}-")


async def _delayed(site: Site, timeline: Timeline) -> None:
    delayed_s = CUT_QUICK_S if timeline.quick else CUT_S
    async with timeline.fault(f"{DELAYED_S * 1000:.0f} ms more on every way to and between brokers, {delayed_s:.0f} s"):
        for broker in site.names("kafka"):
            for link in (broker, f"{broker}-peer"):
                site.network.delay(link, DELAYED_S)
        await asyncio.sleep(delayed_s)
        site.network.heal()
    timeline.bound("tickets again: delay", await settle_time_s(site, timeline, 2 * RECOVERED_S), RECOVERED_S)


async def _busiest(site: Site) -> str:
    return f"kafka-{await leader_of_issues(site)}"


async def _back(site: Site, timeline: Timeline, broker: str) -> None:
    await site.start(broker)
    await whole_again_s(site, timeline, WHOLE_S)
    await settle_time_s(site, timeline, RECOVERED_S)


SCENARIO = Scenario(
    risk="R3",
    title="Broker failure",
    about="The leader ends, dies and freezes; two and three brokers at once; cuts, one-way cuts and delay.",
    settings=PROXIED,
    run=run,
)
