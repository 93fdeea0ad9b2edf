"""One run of the bench: the servers, the sides in turn (A B A B …), and the figures of each round."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from fairgate.bench.cores import can_pin
from fairgate.bench.load import Driver
from fairgate.bench.peer import PeerSide, build
from fairgate.bench.rows import Figure, Row, rows
from fairgate.bench.samples import Latencies, Sample
from fairgate.bench.sides import API_CORE, DRIVER_CORE, FairgateSide, Side
from fairgate.bench.works.drain import drain
from fairgate.bench.works.latency import latency
from fairgate.bench.works.requests import FANS_PER_S, joins, positions
from fairgate.config import Config
from fairgate.local.ports import free_base
from fairgate.local.supervisor import ALL_ROLES, Stack

# Behind every port of the stack.
PEER_PORT = 95
# One address makes all the guests here; in the world each fan has their own.
GUESTS_PER_MINUTE = 1_000_000_000

REQUEST_ROLES = ("api", "admission")


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """`peer`: the folder of the other side's sources, None for Fairgate alone."""

    works: Sequence[str]
    rounds: int
    brokers: int
    seconds: float
    waiting: int
    listeners: int
    rate: float
    peer: Path | None = None


Tell = Callable[[str], None]
Work = Callable[[Side, Driver, Options], Awaitable[list[Figure]]]


async def run(options: Options, tell: Tell) -> list[Row]:
    """Raises `ConfigError` where something cannot start, `Unavailable` where a side stops answering."""
    with tempfile.TemporaryDirectory(prefix="fairgate-bench-") as directory:
        config = Config(
            data_dir=Path(directory) / "data",
            port_base=free_base(),
            brokers=options.brokers,
            guest_rate_per_minute=GUESTS_PER_MINUTE,
        )
        stack = Stack(config, roles=ALL_ROLES)
        await asyncio.to_thread(stack.start)
        sides = await _sides(options, stack, Path(directory) / "peer")
        try:
            return rows(await _rounds(options, sides, tell))
        finally:
            for side in sides:
                await side.close()
            await asyncio.to_thread(stack.stop)


async def _sides(options: Options, stack: Stack, directory: Path) -> list[Side]:
    """All of them off."""
    fairgate = FairgateSide(stack)
    await fairgate.off()
    if options.peer is None:
        return [fairgate]
    await asyncio.to_thread(build, options.peer, directory)
    return [fairgate, PeerSide(stack.config, directory, stack.config.port_base + PEER_PORT)]


async def _rounds(options: Options, sides: Sequence[Side], tell: Tell) -> list[Figure]:
    driver = Driver(DRIVER_CORE if can_pin() else None)
    figures: list[Figure] = []
    for number in range(1, options.rounds + 1):
        for work in options.works:
            for side in sides:
                measured = await WORKS[work](side, driver, options)
                await side.off()
                figures += measured
                tell(
                    f"round {number}: {side.name:<9}"
                    + "   ".join(f"{f.name} {f.value:,.1f} {f.unit}" for f in measured)
                )
    return figures


# ---- the works


async def _join(side: Side, driver: Driver, options: Options) -> list[Figure]:
    await side.on(REQUEST_ROLES)
    side.pin_api(API_CORE)
    users, made = await driver.fans(side.target, int(FANS_PER_S * options.seconds))
    figures = [] if made is None else [Figure("session", "guest sessions", "/s", side.name, made.per_s)]
    for connections in (64, 512):
        sample = await joins(side, driver, connections=connections, seconds=options.seconds, users=users)
        figures += _of_requests("join", f"joins, {connections} connections", side, sample)
    return figures


async def _position(side: Side, driver: Driver, options: Options) -> list[Figure]:
    await side.on(REQUEST_ROLES)
    side.pin_api(API_CORE)
    users, _ = await driver.fans(side.target, options.waiting)
    figures = []
    for connections in (64, 512):
        sample = await positions(
            side, driver, connections=connections, seconds=options.seconds, waiting=options.waiting, users=users
        )
        figures += _of_requests("position", f"positions, {connections} connections", side, sample)
    return figures


async def _drain(side: Side, driver: Driver, options: Options) -> list[Figure]:
    await side.on()
    side.pin_api(None)
    drained = await drain(side, driver, options.waiting)
    return [
        Figure("drain", "tickets", "/s", side.name, drained.tickets_per_s),
        Figure("drain", "told", "/s", side.name, drained.told_per_s),
    ]


async def _latency(side: Side, driver: Driver, options: Options) -> list[Figure]:
    await side.on()
    side.pin_api(None)
    told = await latency(side, driver, listeners=options.listeners, rate=options.rate)
    return [
        Figure("latency", "untold", "fans", side.name, told.listeners - told.told),
        *_of_latencies("latency", "join answered to told", side, told.latencies),
    ]


WORKS: Mapping[str, Work] = {"join": _join, "position": _position, "drain": _drain, "latency": _latency}


def _of_requests(work: str, name: str, side: Side, sample: Sample) -> list[Figure]:
    return [
        Figure(work, name, "/s", side.name, sample.per_s),
        Figure(work, f"{name}, not answered 200", "requests", side.name, sample.refused + sample.failed),
        *_of_latencies(work, name, side, sample.latencies),
    ]


def _of_latencies(work: str, name: str, side: Side, found: Latencies | None) -> list[Figure]:
    if found is None:
        return []
    return [Figure(work, f"{name}, {p}", "ms", side.name, getattr(found, p)) for p in ("p50", "p99")]
