"""Growth: joins and reads of places a second as the line gets longer, and what a waiter costs in Valkey's memory.

All lines are filled first; then each is asked in turn, over and over, so that what the machine does meanwhile comes to
all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import uuid4

import msgspec

from fairgate.bench.filling import Filler
from fairgate.bench.load import Driver
from fairgate.bench.measured import Curve, Figure, Measured
from fairgate.bench.options import Options
from fairgate.bench.samples import spread
from fairgate.bench.sides import API_CORE, FairgateSide, Side
from fairgate.bench.works.position import positions
from fairgate.errors import Unavailable

# The journal goes to Kafka while the line grows: what is measured is the line, not what is on its way.
ROLES = ("api", "admission", "relay")
CONNECTIONS = 64
TURNS = 3
# Joins a second that no line will see, so that no turn runs out of fans.
FANS_PER_S = 40_000


class Lengths(msgspec.Struct):
    """What was asked of the line of this size, a value for each turn."""

    size: int
    joins: list[float] = []
    reads: list[float] = []


async def measure(side: Side, driver: Driver, options: Options) -> Measured:
    assert isinstance(side, FairgateSide)
    await side.on(ROLES)
    side.pin_api(API_CORE)
    filler = Filler(side)
    try:
        users, session = await _fans(side, driver, filler, int(TURNS * FANS_PER_S * options.seconds))
        lines, waiter = await _filled(side, filler, options.sizes)
        found = await _turns(side, driver, options, lines, users)
        return _found(side, list(found.values()), waiter=waiter, session=session)
    finally:
        await filler.close()


async def _fans(side: FairgateSide, driver: Driver, filler: Filler, count: int) -> tuple[list[str], float]:
    """Fans with sessions, and the bytes that one session takes."""
    before = await filler.memory()
    users, _ = await driver.fans(side.target, count)
    return users, (await filler.memory() - before) / count


async def _filled(side: FairgateSide, filler: Filler, sizes: Sequence[int]) -> tuple[dict[int, str], float]:
    """A line of each size, and the bytes that a waiter of the longest takes once its join is in Kafka."""
    lines: dict[int, str] = {}
    for size in sorted(sizes):
        lines[size] = await side.open_line(f"bench-{uuid4().hex[:8]}", paused=True)
        await filler.ready(lines[size])
        before = await filler.memory()
        await filler.fill(lines[size], size)
    return lines, (await filler.memory() - before) / size


async def _turns(
    side: FairgateSide, driver: Driver, options: Options, lines: Mapping[int, str], users: Sequence[str]
) -> dict[int, Lengths]:
    found = {size: Lengths(size) for size in lines}
    each = len(users) // TURNS
    for turn in range(TURNS):
        fans = users[turn * each : (turn + 1) * each]
        for size, event_id in lines.items():
            requests = (side.target.join(event_id, user) for user in fans)
            joined = await driver.load(side.target.api, requests, connections=CONNECTIONS, seconds=options.seconds)
            if joined.refused or joined.failed:
                raise Unavailable(f"{joined.refused + joined.failed} joins failed with {size:,} waiting")
            read = await positions(
                side, driver, event_id, connections=CONNECTIONS, seconds=options.seconds, users=fans[: joined.ok]
            )
            found[size].joins.append(joined.per_s)
            found[size].reads.append(read.per_s)
    return found


def _found(side: Side, lengths: Sequence[Lengths], *, waiter: float, session: float) -> Measured:
    shortest, longest = lengths[0], lengths[-1]
    figures = [
        Figure("waiters", f"{what}, {each.size:,} waiting", "/s", side.name, spread(values).median)
        for each in lengths
        for what, values in (("joins", each.joins), ("positions", each.reads))
    ]
    for what, long, short in (
        ("joins", longest.joins, shortest.joins),
        ("positions", longest.reads, shortest.reads),
    ):
        ratios = [a / b for a, b in zip(long, short, strict=True)]
        figures.append(Figure("waiters", f"{what}, longest to shortest line", "×", side.name, spread(ratios).median))
    figures.append(Figure("waiters", "memory, a waiter", "bytes", side.name, waiter))
    figures.append(Figure("waiters", "memory, a waiter with a session", "bytes", side.name, waiter + session))
    curves = [
        Curve(
            work="waiters",
            title=f"{what} a second as the line grows",
            side=side.name,
            x="waiting",
            y="/s",
            points=[(each.size, spread(values).median) for each in lengths for values in [getattr(each, field)]],
            log_x=True,
        )
        for what, field in (("joins", "joins"), ("reads", "reads"))
    ]
    return Measured(figures, curves)
