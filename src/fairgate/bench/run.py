"""One run of the bench: the servers, the sides in turn (A B A B …), and what each round measured."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from fairgate.bench.cores import can_pin
from fairgate.bench.load import Driver
from fairgate.bench.measured import Measured
from fairgate.bench.options import WARMING_MAX, Options
from fairgate.bench.peer import PeerSide, build
from fairgate.bench.remote import RemoteSide
from fairgate.bench.report import Report
from fairgate.bench.sides import DRIVER_CORE, FairgateSide, Side
from fairgate.bench.works import WORKS
from fairgate.config import Config
from fairgate.errors import ConfigError
from fairgate.local.ports import free_base
from fairgate.local.supervisor import ALL_ROLES, Stack
from fairgate.reports.machine import machine, now, versions_of

# Behind every port of the stack.
PEER_PORT = 95
# One address makes all the guests here; in the world each fan has their own.
GUESTS_PER_MINUTE = 1_000_000_000
# A drain is as fast as the pipeline: nobody shall hold it back for who tells, who is behind by design then.
LAG_UNBOUNDED = 1_000_000_000


async def run(options: Options, command: str) -> Report:
    """Raises `ConfigError` where something cannot start, `Unavailable` where a side stops answering."""
    began, versions, found = now(), dict[str, str](), Measured()
    if options.against is not None:
        found = await _remote(options)
    else:
        shared = [work for work in options.works if not WORKS[work].fresh]
        if shared:
            async with _stack(options, versions) as (stack, directory):
                found += await _rounds(options, shared, await _sides(options, stack, directory))
        for work in (work for work in options.works if WORKS[work].fresh):
            found += await _fresh(options, work, versions)
    return Report(
        machine=machine(began, versions),
        command=command,
        setting=_setting(options),
        figures=found.figures,
        curves=found.curves,
    )


async def _remote(options: Options) -> Measured:
    assert options.against is not None
    wrong = [work for work in options.works if not WORKS[work].anywhere]
    if wrong:
        raise ConfigError(f"{', '.join(wrong)}: only where the bench starts the servers itself")
    return await _rounds(options, options.works, [await RemoteSide.find(options.against)])


async def _fresh(options: Options, work: str, versions: dict[str, str]) -> Measured:
    """Each round on servers that hold nothing yet, since what such a work fills stays there."""
    found = Measured()
    for number in range(1, options.rounds + 1):
        async with _stack(options, versions, quick_start=WORKS[work].quick_brokers) as (stack, _):
            side = FairgateSide(stack)
            await side.off()
            try:
                found += await _one(options, number, work, side)
            finally:
                await side.close()
    return found


@asynccontextmanager
async def _stack(
    options: Options, versions: dict[str, str], *, quick_start: bool = False
) -> AsyncIterator[tuple[Stack, Path]]:
    """Servers and roles of our own, and a folder that goes with them."""
    with tempfile.TemporaryDirectory(prefix="fairgate-bench-") as directory:
        config = Config(
            data_dir=Path(directory) / "data",
            port_base=free_base(),
            brokers=options.brokers,
            guest_rate_per_minute=GUESTS_PER_MINUTE,
            lag_slow_from=LAG_UNBOUNDED,
            lag_hold_from=LAG_UNBOUNDED + 1,
        )
        stack = Stack(config, roles=ALL_ROLES, quick_start=quick_start)
        await asyncio.to_thread(stack.start)
        versions.update(versions_of(stack))
        try:
            yield stack, Path(directory)
        finally:
            await asyncio.to_thread(stack.stop)


async def _sides(options: Options, stack: Stack, directory: Path) -> list[Side]:
    """All of them off."""
    fairgate = FairgateSide(stack)
    await fairgate.off()
    if options.peer is None:
        return [fairgate]
    await asyncio.to_thread(build, options.peer, directory / "peer")
    return [fairgate, PeerSide(stack, directory / "peer", stack.config.port_base + PEER_PORT)]


async def _rounds(options: Options, works: Sequence[str], sides: Sequence[Side]) -> Measured:
    found = Measured()
    try:
        if options.rounds > 1:
            warming = msgspec.structs.replace(options, waiting=min(options.waiting, WARMING_MAX))
            for work in (work for work in works if WORKS[work].warms):
                for side in sides:
                    await _one(warming, 0, work, side)
        for number in range(1, options.rounds + 1):
            for work in works:
                for side in sides[:1] if WORKS[work].ours else sides:
                    found += await _one(options, number, work, side)
    finally:
        for side in sides:
            await side.close()
    return found


async def _one(options: Options, number: int, work: str, side: Side) -> Measured:
    found = await WORKS[work].measure(side, Driver(DRIVER_CORE if can_pin() else None), options)
    await side.off()
    said = "   ".join(f"{figure.name} {figure.value:,.4g} {figure.unit}".rstrip() for figure in found.figures)
    options.tell(f"{f'round {number}' if number else 'warming'}: {side.name:<9}{said}")
    return found


def _setting(options: Options) -> list[str]:
    """What has to be known to compare this with another machine."""
    if options.against is not None:
        return [f"driven from outside: {options.against.url}"]
    kafka = "1 broker, no replication" if options.brokers == 1 else "3 brokers, replication 3, min.insync.replicas 2"
    pinned = "API and driver on a core each" if can_pin() else "no process could be bound to a core"
    transactions = "on" if Config().kafka_transactions else "off"
    quick = [work for work in options.works if WORKS[work].quick_brokers]
    return [f"{kafka}; transactions {transactions}; sessions checked, places signed, joins journaled; no bound by lag",
            *(f"{work}: brokers with their quick compiler only" for work in quick),
            pinned, f"{options.rounds} rounds"]  # fmt: skip
