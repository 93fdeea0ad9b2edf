"""R8, Redis and Kafka apart: Valkey and PostgreSQL fail between the steps from the line to the ticket."""

from __future__ import annotations

import asyncio
import signal
import time

from fairgate.chaos.measures import settle_time_s
from fairgate.chaos.scenario import Scenario, Site, Timeline
from fairgate.chaos.settings import PROXIED

TIMES, TIMES_QUICK = 3, 1
# The line is prepared anew by its owner; clients ask again until then.
JOINS_AGAIN_S, SETTLED_S = 15.0, 60.0
LAGS_S, FULL_S = 2.0, 5.0


async def run(site: Site, timeline: Timeline) -> None:
    """Valkey dies, is wiped, is full, fails over to a replica that lags; PostgreSQL dies, whole and in part."""
    for _ in range(TIMES_QUICK if timeline.quick else TIMES):
        await _killed(site, timeline)
        await _wiped(site, timeline)
        await _postgres(site, timeline)
    await _full(site, timeline)
    await _failed_over(site, timeline)


async def _killed(site: Site, timeline: Timeline) -> None:
    async with timeline.fault("Valkey killed (SIGKILL), and started again"):
        began = time.monotonic()
        site.crash("valkey")
        await site.wait_ready("valkey")  # it reads its file first, and refuses everything until then
        await _joins_again(site, timeline, "Valkey was killed", began)


async def _wiped(site: Site, timeline: Timeline) -> None:
    async with timeline.fault("Valkey wiped (FLUSHALL)"):
        await site.databases.flush()
        await _joins_again(site, timeline, "Valkey was wiped")


async def _full(site: Site, timeline: Timeline) -> None:
    """Joins are refused (503), and nobody is evicted."""
    async with timeline.fault(f"Valkey's memory limit reached for {FULL_S:.0f} s"):
        await site.databases.limit_memory()
        await asyncio.sleep(FULL_S)
        await site.databases.allow_memory()
        await _joins_again(site, timeline, "Valkey was full")


async def _failed_over(site: Site, timeline: Timeline) -> None:
    """What the replica has not heard is gone, as in any asynchronous replication."""
    async with timeline.fault(f"fail-over to a replica that is {LAGS_S:.0f} s behind"):
        site.databases.hold_replication()
        await asyncio.sleep(LAGS_S)
        lag = await site.databases.replica_lag_bytes()
        await site.kill("valkey")
        await site.databases.promote_replica()
        timeline.note(f"the replica lacked {lag} bytes of the primary's stream")
        await _joins_again(site, timeline, "the fail-over")


async def _postgres(site: Site, timeline: Timeline) -> None:
    async with timeline.fault("PostgreSQL ends at once, without a checkpoint (SIGQUIT), and is started again"):
        site.crash("postgres", signal.SIGQUIT)
        await asyncio.sleep(1.0)
        await site.wait_ready("postgres")
    timeline.bound("settled after PostgreSQL ended", await settle_time_s(site, timeline, SETTLED_S), SETTLED_S)
    async with timeline.fault("one of PostgreSQL's processes killed (SIGKILL): all connections go, it recovers"):
        await site.databases.kill_backend()
        await asyncio.sleep(1.0)
        await site.wait_ready("postgres")
    timeline.bound("settled after a backend was killed", await settle_time_s(site, timeline, SETTLED_S), SETTLED_S)


async def _joins_again(site: Site, timeline: Timeline, what: str, began: float | None = None) -> None:
    """Somebody joins from now on, as the samples say; the time counts from `began`, where it began before."""
    since = time.monotonic()

    async def joined() -> bool:
        return timeline.longest_stall_s("joins", since) < time.monotonic() - since - 0.5

    await timeline.until(joined, 4 * JOINS_AGAIN_S, f"joins again after {what}")
    again_s = time.monotonic() - (began or since)
    timeline.bound(f"joins again after {what}", again_s, JOINS_AGAIN_S)
    timeline.bound(f"settled after {what}", await settle_time_s(site, timeline, SETTLED_S), SETTLED_S)


SCENARIO = Scenario(
    risk="R8",
    title="Redis and Kafka apart",
    about="Valkey is killed, wiped, full, and fails over to a lagging replica; PostgreSQL dies whole and in part.",
    settings=PROXIED,
    # The fail-over leaves a site whose two Valkeys have changed their parts.
    turn=1,
    run=run,
)
