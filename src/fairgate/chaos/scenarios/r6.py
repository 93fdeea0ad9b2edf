"""R6, duplicates: kills between every two commits, a coordinator that dies in a transaction's end, topics re-read."""

from __future__ import annotations

import asyncio
import contextlib
import random

from fairgate.chaos.figures import total_of
from fairgate.chaos.measures import inbox_letters, rewind_group, settle_time_s, tickets
from fairgate.chaos.readiness import metrics_of
from fairgate.chaos.scenario import Scenario, Site, Timeline
from fairgate.chaos.settings import PROXIED
from fairgate.notification.tell import GROUP as NOTIFICATION_GROUP
from fairgate.streams.topics import Names
from fairgate.ticketing.settle import GROUP as TICKETING_GROUP
from fairgate.ticketing.settle import TRANSACTIONAL_ID

# Between every two commits on the way from the line to the inbox; a process comes to each of them within seconds.
POINTS = {
    "admission": ("admission.claimed", "admission.admitted", "admission.rung", "admission.cleared"),
    "relay": ("relay.read", "relay.sent", "relay.acknowledged", "relay.marked"),
    "ticketing": (
        *("ticketing.taken", "ticketing.settled"),
        *("transaction.sent", "transaction.offsets", "transaction.committed"),
    ),
    "notification": ("notification.taken", "notification.kept", "notification.told", "notification.committed"),
}
# What a process of this role has done, by its own count: who dies shall be one that has work.
WORK = {
    "admission": "fairgate_admissions_total",
    "relay": "fairgate_published_total",
    "ticketing": "fairgate_tickets_issued_total",
    "notification": "fairgate_notifications_total",
}
LOOK_S = 1.5
REACHED_S = 30.0
COORDINATORS, COORDINATORS_QUICK = 3, 1
# The answer to the end of a transaction takes this long: the kill falls into it.
ENDING_S = 0.4
SETTLED_S, REPLAYED_S, WHOLE_S = 90.0, 120.0, 90.0


async def run(site: Site, timeline: Timeline) -> None:
    """1 every stage dies between its commits, 2 the coordinator dies, 3 all is read again. Nothing happens twice."""
    await _stages(site, timeline)
    await _coordinator(site, timeline)
    await _replayed(site, timeline)


async def _stages(site: Site, timeline: Timeline) -> None:
    """One stage after the other, point by point; in the short version one point of each, all stages at once."""
    if timeline.quick:
        chance = random.Random(timeline.seed)
        await asyncio.gather(*(_ends_at(site, timeline, role, chance.choice(POINTS[role])) for role in POINTS))
    else:
        for role, points in POINTS.items():
            for point in points:
                await _ends_at(site, timeline, role, point)
    timeline.bound("settled after the crashes", await settle_time_s(site, timeline, SETTLED_S), SETTLED_S)


async def _ends_at(site: Site, timeline: Timeline, role: str, point: str) -> None:
    name = await _busiest(site, role)
    async with timeline.fault(f"{name} ends hard (exit) at {point}"):
        if await site.crash_at(name, point, REACHED_S):
            await site.wait_ready(name)
        else:
            timeline.note(f"{name} did not come to {point}")
            await site.restart(name)


async def _busiest(site: Site, role: str) -> str:
    """The process that has done most of the role's work just now."""
    before = await asyncio.to_thread(_done, site, role)
    await asyncio.sleep(LOOK_S)
    now = await asyncio.to_thread(_done, site, role)
    return max(now, key=lambda name: now[name] - before[name])


def _done(site: Site, role: str) -> dict[str, float]:
    """Process → what it has done; 0 for one that cannot be asked."""
    done = dict.fromkeys(site.names(role), 0.0)
    for name in done:
        with contextlib.suppress(OSError):
            done[name] = total_of(metrics_of(site.stack, name), WORK[role])
    return done


async def _coordinator(site: Site, timeline: Timeline) -> None:
    for turn in range(COORDINATORS_QUICK if timeline.quick else COORDINATORS):
        transactional_id = f"{site.config.topic_prefix}{TRANSACTIONAL_ID}-{turn}"
        broker = f"kafka-{await site.cluster.transaction_coordinator(transactional_id)}"
        async with timeline.fault(f"{broker}, coordinator of {transactional_id}, killed while transactions end"):
            site.network.delay(broker, ENDING_S)
            await asyncio.sleep(3 * ENDING_S)
            await site.kill(broker)
            site.network.heal()
            await asyncio.sleep(5.0)
            await site.start(broker)
        timeline.bound("settled after the coordinator", await settle_time_s(site, timeline, SETTLED_S), SETTLED_S)
        await timeline.until(site.cluster.whole, WHOLE_S, "every partition has all its replicas")


async def _replayed(site: Site, timeline: Timeline) -> None:
    names = Names(site.config.topic_prefix)
    tickets_before, letters_before = await tickets(site), await inbox_letters(site)
    await asyncio.gather(
        _replay(site, timeline, "ticketing", TICKETING_GROUP, names.ticket_issue),
        _replay(site, timeline, "notification", NOTIFICATION_GROUP, names.ticket_issued),
    )
    timeline.note(
        f"tickets {tickets_before} → {await tickets(site)}, letters {letters_before} → {await inbox_letters(site)}"
    )


async def _replay(site: Site, timeline: Timeline, role: str, group: str, topic: str) -> None:
    """The group stops, goes back to the beginning, and reads everything again."""
    async with timeline.fault(f"the whole topic {topic} read again by {group}"):
        for name in site.names(role):
            site.terminate(name)
        for name in site.names(role):
            await asyncio.to_thread(site.child(name).wait, 20.0)
        records = await rewind_group(site, timeline, site.config.topic_prefix + group, topic)
        for name in site.names(role):
            site.child(name).start()
        for name in site.names(role):
            await site.wait_ready(name)
    took_s = await settle_time_s(site, timeline, REPLAYED_S)
    timeline.bound(f"settled after {records} records of {topic} were read again", took_s, REPLAYED_S)


SCENARIO = Scenario(
    risk="R6",
    title="Duplicates",
    about="Every stage dies between its commits, a coordinator in a transaction's end; whole topics are read again.",
    settings=PROXIED,
    run=run,
    # It reads whole topics again: before the others have filled them.
    turn=-1,
)
