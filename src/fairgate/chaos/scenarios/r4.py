"""R4, disk full: the kernel refuses the next byte, at one broker and then at two."""

from __future__ import annotations

import asyncio
import time

from fairgate.chaos.measures import (
    leader_of_issues,
    longest_gap_s,
    now,
    outbox_drained_s,
    settle_time_s,
    unread_of,
    whole_again_s,
)
from fairgate.chaos.scenario import Scenario, Site, Timeline
from fairgate.chaos.settings import APART
from fairgate.streams import retention
from fairgate.streams.topics import Names, admin

# A full disk ends the broker; its partitions move after its session at the controllers.
MOVED_S, DRAINED_S, SETTLED_S, WHOLE_S = 60.0, 120.0, 120.0, 120.0
FULL_S, FULL_QUICK_S = 30.0, 8.0


async def run(site: Site, timeline: Timeline) -> None:
    """1 the leader's disk is full, 2 another one's too, 3 retention is cut, 4 space returns, 5 the cut is undone."""
    full_s = FULL_QUICK_S if timeline.quick else FULL_S
    first = await leader_of_issues(site)
    second = first % len(site.disks) + 1
    since, began = time.monotonic(), await now(site)
    async with timeline.fault(f"the disk of kafka-{first} is full (ENOSPC)"):
        await _fill(site, timeline, first)
        timeline.bound("tickets go on with one full disk", await settle_time_s(site, timeline, SETTLED_S), MOVED_S)
        timeline.note(f"longest stall {await longest_gap_s(site, began):.1f} s with one full disk")
        async with timeline.fault(f"the disk of kafka-{second} is full too, for {full_s:.0f} s"):
            await _fill(site, timeline, second)
            await asyncio.sleep(full_s)
            timeline.bound("longest time without a join, two full disks", timeline.longest_stall_s("joins", since), 5.0)
    await _space_returns(site, timeline, [first, second])
    await _cut_and_undo(site, timeline)


async def _fill(site: Site, timeline: Timeline, broker: int) -> None:
    """Until the broker has noticed: it has no other disk, so it ends; starting again fails as long as it is full."""
    started = site.child(f"kafka-{broker}").pid
    taken = await asyncio.to_thread(site.disks[broker].fill)
    timeline.note(f"kafka-{broker}: {taken >> 20} MiB taken, nothing left")

    async def ended() -> bool:
        # What it gives back by deleting (a snapshot, an old checkpoint) is taken as well.
        await asyncio.to_thread(site.disks[broker].fill)
        return site.child(f"kafka-{broker}").pid != started or not site.child(f"kafka-{broker}").running

    await timeline.until(ended, MOVED_S, f"kafka-{broker} ends on its full disk")


async def _space_returns(site: Site, timeline: Timeline, brokers: list[int]) -> None:
    for broker in brokers:
        site.disks[broker].empty()
    timeline.note("space returns")
    began = time.monotonic()
    for broker in brokers:
        await site.wait_ready(f"kafka-{broker}", DRAINED_S)
    await outbox_drained_s(site, timeline, DRAINED_S)
    timeline.bound("outbox drained after space returned", time.monotonic() - began, DRAINED_S)
    await settle_time_s(site, timeline, SETTLED_S)
    await whole_again_s(site, timeline, WHOLE_S)


async def _cut_and_undo(site: Site, timeline: Timeline) -> None:
    """The operator's emergency measure, while everything runs."""
    topic, client = Names(site.config.topic_prefix).ticket_issue, admin(site.observer)
    unread = await unread_of(site, topic)
    done = await asyncio.to_thread(retention.cut, client, topic, unread, now_ms=int(time.time() * 1000))
    timeline.note(f"retention of {topic} cut to {retention.CUT_MS} ms (before: {done.before['retention.ms']})")
    await asyncio.to_thread(retention.undo, client, done)
    timeline.note(f"retention of {topic} as before")


SCENARIO = Scenario(
    risk="R4",
    title="Disk full",
    about="The last byte of one broker's disk is taken, then of two; retention is cut and put back.",
    settings=APART,
    # What it fills and cuts is the site's.
    turn=1,
    needs_disks=True,
    run=run,
)
