"""The soak: half an hour of load with a fault every two minutes; nothing may grow, leak or break."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence

import psutil

from fairgate.chaos.scenario import Scenario, Site, Timeline
from fairgate.chaos.scenarios.mix import MENU
from fairgate.chaos.settings import PROXIED
from fairgate.chaos.timeline import Timeline as Kept
from fairgate.errors import Unavailable
from fairgate.outbox.prune import KEPT_S

SOAK_JOINS_PER_S = 100.0
FAULT_EVERY_S, LOOK_EVERY_S = 120.0, 10.0
# The crowd comes until the last fault is healed.
COMING_BACK_S = 600.0
# Python's allocator grows in steps of some MB and the crowd leaves its traces in caches that are bounded; a leak of
# one kilobyte for each of 100 joins a second would be 350 MB an hour.
GROWTH_MB_PER_H = 60.0
# A process that was started anew begins small: only who lived through this share of the second half is judged.
LIVED_SHARE = 0.6
# Pools may stand fuller than at the start, but only up to their own bounds.
MORE_CONNECTIONS = 40

# What was sent goes after `KEPT_S`, looked for every half minute and while a relay lives: then a row is overdue.
OVERDUE_S = KEPT_S + 90.0
# Rows come and go in an even stream; where their room is used again, the table on disk stays as it is.
GROWTH_OF_TABLE = 1.5

_SIZES = """
select (select count(*) from outbox) as rows,
       (select count(*) from outbox where sent_at < clock_timestamp() - make_interval(secs => $1)) as overdue,
       pg_total_relation_size('outbox') / 2 ^ 20 as outbox_mb,
       (select count(*) from pg_stat_activity where datname = current_database()) as connections
"""


def scenario(minutes: float) -> Scenario:
    """So long, without the time that the crowd needs to come and go."""

    async def run(site: Site, timeline: Timeline) -> None:
        await soak(site, timeline, minutes * 60)

    return Scenario(
        risk="SOAK",
        title=f"{minutes:g} minutes with a fault every two",
        about="A fault of the mix every two minutes; memory, tables and connections are watched.",
        settings=PROXIED,
        run=run,
        longest_s=minutes * 60 + COMING_BACK_S,
    )


async def soak(site: Site, timeline: Timeline, seconds: float) -> None:
    sizes = Sizes(site)
    measuring = asyncio.create_task(sizes.run())
    try:
        await _break_now_and_then(site, timeline, seconds)
    finally:
        measuring.cancel()
        await asyncio.gather(measuring, return_exceptions=True)
    _state(sizes, timeline)


async def _break_now_and_then(site: Site, timeline: Timeline, seconds: float) -> None:
    deadline, chance = time.monotonic() + seconds, random.Random(timeline.seed)
    while (left_s := deadline - time.monotonic()) > 0:
        if left_s < FAULT_EVERY_S:
            await asyncio.sleep(left_s)
            return
        began = time.monotonic()
        await _break_one(site, timeline, chance)
        await asyncio.sleep(max(0.0, FAULT_EVERY_S - (time.monotonic() - began)))


async def _break_one(site: Site, timeline: Timeline, chance: random.Random) -> None:
    """One of the mix's menu. What another fault makes impossible is noted."""
    fault = chance.choice(MENU)
    async with timeline.fault(fault.title):
        try:
            await fault.act(site, chance)
        except Unavailable as why:
            timeline.note(f"{fault.title}: not possible just now ({why})")


class Sizes:
    """Every ten seconds: resident memory of each process by its pid, connections and rows. `run` until cancelled."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self.memory_mb: dict[tuple[str, int], list[tuple[float, float]]] = {}
        self.connections: list[tuple[float, float]] = []
        self.valkey_clients: list[tuple[float, float]] = []
        self.outbox_rows: list[tuple[float, float]] = []
        self.outbox_mb: list[tuple[float, float]] = []
        self.overdue: list[tuple[float, float]] = []

    async def run(self) -> None:
        while True:
            now = time.monotonic()
            for child in self._site.children():
                if child.running and child.pid is not None:
                    self._note_memory(child.name, child.pid, now)
            await self._note_servers(now)
            await asyncio.sleep(LOOK_EVERY_S)

    def _note_memory(self, name: str, pid: int, now: float) -> None:
        try:
            resident = psutil.Process(pid).memory_info().rss
        except psutil.Error:  # it has just ended
            return
        self.memory_mb.setdefault((name, pid), []).append((now, resident / 2**20))

    async def _note_servers(self, now: float) -> None:
        try:
            row = (await self._site.databases.sql(_SIZES, OVERDUE_S))[0]
            clients = await self._site.databases.ask_valkey("INFO", "clients")
        except Unavailable:
            return
        self.outbox_rows.append((now, float(row["rows"])))
        self.outbox_mb.append((now, float(row["outbox_mb"])))
        self.overdue.append((now, float(row["overdue"])))
        self.connections.append((now, float(row["connections"])))
        self.valkey_clients.append((now, connected(clients)))


def connected(clients: object) -> float:
    """From Valkey's INFO, as text or as the client library's dictionary."""
    if isinstance(clients, dict):
        return float(clients["connected_clients"])
    text = clients.decode() if isinstance(clients, bytes) else str(clients)
    return float(text.partition("connected_clients:")[2].split()[0])


def slope_per_h(points: Sequence[tuple[float, float]]) -> float:
    """Of the straight line with the least squares, per hour; 0 where there is no line."""
    if len(points) < 2:
        return 0.0
    middle_at = sum(at for at, _ in points) / len(points)
    middle = sum(value for _, value in points) / len(points)
    spread = sum((at - middle_at) ** 2 for at, _ in points)
    rise = sum((at - middle_at) * (value - middle) for at, value in points)
    return 3600 * rise / spread if spread else 0.0


def second_half(points: Sequence[tuple[float, float]], began: float, ended: float) -> list[tuple[float, float]]:
    """Who lived long enough in it is judged: there the caches are warm. Else nothing."""
    half = (began + ended) / 2
    found = [(at, value) for at, value in points if at >= half]
    lived_s = found[-1][0] - found[0][0] if found else 0.0
    return found if lived_s >= LIVED_SHARE * (ended - half) else []


def growth(points: Sequence[tuple[float, float]]) -> float | None:
    """The highest of the last quarter by the highest of the quarter before; None where one of them has no point."""
    if not points:
        return None
    began, ended = points[0][0], points[-1][0]
    half, last = began + (ended - began) / 2, began + (ended - began) * 3 / 4
    before = max((value for at, value in points if half <= at < last), default=0.0)
    return max(value for at, value in points if at >= last) / before if before else None


def _state(sizes: Sizes, timeline: Timeline) -> None:
    """The bounds, and the series for the report."""
    times = [at for points in sizes.memory_mb.values() for at, _ in points]
    if not times:
        return timeline.bound("memory was measured", None, 0.0, "")
    for (name, _), points in sorted(sizes.memory_mb.items()):
        late = second_half(points, min(times), max(times))
        # A JVM fills the heap that it was given and PostgreSQL its shared buffers: only Fairgate's own are judged.
        if late and not name.startswith(("kafka", "controller", "postgres", "valkey")):
            timeline.bound(f"{name}: memory in the second half", slope_per_h(late), GROWTH_MB_PER_H, "MiB/h")
    _bound_growth(timeline, "connections to PostgreSQL, more than at the start", sizes.connections)
    _bound_growth(timeline, "connections to Valkey, more than at the start", sizes.valkey_clients)
    timeline.bound("rows of the outbox that should be gone", sizes.overdue[-1][1] if sizes.overdue else None, 0, "")
    timeline.bound("the outbox on disk, last quarter to the one before", growth(sizes.outbox_mb), GROWTH_OF_TABLE, "×")
    if isinstance(timeline, Kept):
        _draw(sizes, timeline)
    return None


def _bound_growth(timeline: Timeline, name: str, points: Sequence[tuple[float, float]]) -> None:
    more = points[-1][1] - points[0][1] if points else None
    timeline.bound(name, more, MORE_CONNECTIONS, "")


def _draw(sizes: Sizes, timeline: Kept) -> None:
    longest: dict[str, list[tuple[float, float]]] = {}
    for (name, _), points in sizes.memory_mb.items():
        longest[name] = [*longest.get(name, []), *points]
    drawn = {f"memory of {name} (MiB)": points for name, points in longest.items()}
    drawn |= {
        "connections to PostgreSQL": sizes.connections,
        "connections to Valkey": sizes.valkey_clients,
        "rows in the outbox": sizes.outbox_rows,
        "the outbox on disk (MiB)": sizes.outbox_mb,
    }
    for name, points in drawn.items():
        timeline.further[name] = [(round(at - timeline.began, 1), round(value, 1)) for at, value in points]
