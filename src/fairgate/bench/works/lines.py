"""Many open lines at once: joins spread over all of them, whether each keeps its own rate, and what idle ones cost."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Sequence
from itertools import cycle
from typing import Any
from uuid import uuid4

import msgspec

from fairgate.bench import cpu
from fairgate.bench.filling import Filler
from fairgate.bench.load import Driver
from fairgate.bench.measured import Figure, Measured, of_requests
from fairgate.bench.options import WARMING_MAX, Options
from fairgate.bench.sides import API_CORE, FairgateSide, Side
from fairgate.bench.works import drain
from fairgate.bench.works.join import FANS_PER_S, joins
from fairgate.checker import books
from fairgate.checker.facts import percentile
from fairgate.domain.line import LineState
from fairgate.errors import Unavailable

CONNECTIONS = 64
# Admissions of each line while it is watched: fewer say little of a rate.
ADMISSIONS = 120
# One more than goes at a time: a bucket of one forgets what comes in while its line waits for its turn.
BURST = 2
WATCH_S, WATCH_LEAST_S = 60.0, 5.0
# They are watched from when the last one is open; as a share of that time, who is admitted before is filled in besides.
OPENING = 0.5
IDLE_S = 10.0
LINES_AT_ONCE = 16
READY_S = 60.0

_ADMITTED = """
select event_id, count(*) as admitted,
       extract(epoch from max(admitted_at) - min(admitted_at))::double precision as seconds
from admissions where event_id = any($1) and admitted_at > $2 group by event_id
"""


async def measure(side: Side, driver: Driver, options: Options) -> Measured:
    assert isinstance(side, FairgateSide)
    await side.on()
    side.pin_api(API_CORE)
    watch_s = max(WATCH_LEAST_S, WATCH_S * min(1.0, options.seconds / 4))
    alone_s = await _idle(side)
    events = await _opened(side, options.lines, rate=ADMISSIONS / watch_s)
    found = Measured(_idle_figures(side, alone_s, await _idle(side), len(events)))
    await _warmed(side, driver, options)
    found += await _joins(side, driver, options, events)
    await _filled(side, events)
    found.figures += await _rates(side, events, watch_s=watch_s)
    return found


async def _opened(side: FairgateSide, count: int, *, rate: float) -> list[str]:
    """Lines that admit one after the other at this rate; paused while they are filled."""
    run, gate = uuid4().hex[:6], asyncio.Semaphore(LINES_AT_ONCE)

    async def opened(number: int) -> str:
        async with gate:
            line = await side.lines.create(f"bench-{run}-{number}", rate=rate, burst=BURST, state=LineState.PAUSED)
            return line.event_id

    events = await asyncio.gather(*(opened(number) for number in range(count)))
    filler = Filler(side)
    try:
        for event_id in events:
            await filler.ready(event_id, READY_S)
    finally:
        await filler.close()
    return events


# ---- idle lines


async def _idle(side: FairgateSide) -> dict[str, float]:
    """CPU seconds of each process in `IDLE_S`, nobody there."""
    before = side.usage()
    await asyncio.sleep(IDLE_S)
    return cpu.by_kind(cpu.since(before, side.usage()))


def _idle_figures(side: Side, alone: dict[str, float], many: dict[str, float], count: int) -> list[Figure]:
    return [
        Figure("lines", f"{count:,} idle lines, {kind}", "% of a core", side.name, 100 * (spent - alone[kind]) / IDLE_S)
        for kind, spent in many.items()
        if kind in ("api", "admission", "relay", "valkey", "postgresql") and kind in alone
    ]


async def _warmed(side: FairgateSide, driver: Driver, options: Options) -> None:
    """These servers are new, and in the first minute their compilers take what the lines are asked for."""
    await drain.measure(side, driver, msgspec.structs.replace(options, waiting=min(options.waiting, WARMING_MAX)))
    side.pin_api(API_CORE)


# ---- joins


async def _joins(side: FairgateSide, driver: Driver, options: Options, events: Sequence[str]) -> Measured:
    users, _ = await driver.fans(side.target, int(FANS_PER_S * options.seconds))
    one = await joins(side, driver, connections=CONNECTIONS, seconds=options.seconds, users=users)
    requests = (side.target.join(event_id, user) for event_id, user in zip(cycle(events), users, strict=False))
    many = await driver.load(side.target.api, requests, connections=CONNECTIONS, seconds=options.seconds)
    found = of_requests("lines", f"joins over {len(events):,} lines", side.name, many)
    found.figures.append(Figure("lines", "joins, many lines to one", "×", side.name, many.per_s / one.per_s))
    return found


# ---- rates


async def _filled(side: FairgateSide, events: Sequence[str]) -> None:
    """In each line at least as many as its rate lets go while they are opened and watched."""
    filler, gate = Filler(side), asyncio.Semaphore(LINES_AT_ONCE)

    async def filled(event_id: str) -> None:
        async with gate:
            await filler.fill(event_id, int(ADMISSIONS * (1 + OPENING)) + BURST)

    try:
        await asyncio.gather(*map(filled, events))
    finally:
        await filler.close()


async def _rates(side: FairgateSide, events: Sequence[str], *, watch_s: float) -> list[Figure]:
    """All lines are let go; once they are, how far each one's admissions are from its rate."""
    sql = await books.connect(side.config)
    try:
        await _open_all(side, events)
        began = await sql.fetchval("select clock_timestamp()")
        await asyncio.sleep(watch_s)
        found = await sql.fetch(_ADMITTED, list(events), began)
    finally:
        await sql.close()
    return _rate_figures(side, found, len(events), rate=ADMISSIONS / watch_s)


async def _open_all(side: FairgateSide, events: Sequence[str]) -> None:
    gate = asyncio.Semaphore(LINES_AT_ONCE)

    async def opened(event_id: str) -> None:
        async with gate:
            await side.lines.open(event_id)

    await asyncio.gather(*(opened(event_id) for event_id in events))


def _rate_figures(side: Side, rows: Sequence[Any], count: int, *, rate: float) -> list[Figure]:
    """Between a line's first and its last admission: one less than were counted."""
    if len(rows) < count:
        raise Unavailable(f"{count - len(rows)} of {count} lines admitted nobody")
    off = sorted(array("d", (abs((row["admitted"] - 1) / row["seconds"] / rate - 1) for row in rows if row["seconds"])))
    return [
        Figure("lines", "admissions, the least of a line", "", side.name, min(row["admitted"] for row in rows)),
        Figure("lines", "off its rate, median", "%", side.name, 100 * percentile(off, 0.5)),
        Figure("lines", "off its rate, most", "%", side.name, 100 * off[-1]),
    ]
