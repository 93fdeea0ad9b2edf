"""How long it takes until a line that was lost is whole again, and until what was off is on."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path
from uuid import uuid4

from fairgate.bench.filling import Filler
from fairgate.bench.load import Driver
from fairgate.bench.measured import Figure, Measured
from fairgate.bench.options import Options
from fairgate.bench.samples import spread
from fairgate.bench.sides import FairgateSide, Side
from fairgate.config import Config
from fairgate.errors import Unavailable
from fairgate.local.ports import free_base
from fairgate.local.supervisor import ALL_ROLES, Stack

ROLES = ("api", "admission", "relay")
REBUILT_S = 300.0
IMPORTS = 5
_TIMED = "import time; at = time.perf_counter(); import fairgate; print(time.perf_counter() - at)"


async def measure(side: Side, driver: Driver, options: Options) -> Measured:
    assert isinstance(side, FairgateSide)
    await side.on(ROLES)
    figures = await _rebuilt(side, options.places)
    await side.off()
    figures.append(Figure("recovery", "start of everything, one broker", "s", side.name, await _start_s()))
    figures.append(Figure("recovery", "import fairgate", "ms", side.name, 1_000 * await _import_s()))
    return Measured(figures)


async def _rebuilt(side: FairgateSide, places: int) -> list[Figure]:
    """From the wipe to the moment in which the line is open again, with everybody in it."""
    event_id = await side.open_line(f"bench-{uuid4().hex[:8]}", paused=True)
    filler = Filler(side)
    try:
        await filler.ready(event_id)
        await filler.fill(event_id, places)
        began = time.monotonic()
        await filler.wipe()
        await filler.ready(event_id, REBUILT_S)
        took_s = time.monotonic() - began
        waiting = await filler.waiting(event_id) or 0
    finally:
        await filler.close()
    return [
        Figure("recovery", "rebuild of a wiped line", "s", side.name, took_s),
        Figure("recovery", "places rebuilt a second", "/s", side.name, places / took_s),
        Figure("recovery", "places lost", "", side.name, places - waiting),
    ]


async def _start_s() -> float:
    """A stack of its own, from an empty folder until every role says that it is ready."""
    with tempfile.TemporaryDirectory(prefix="fairgate-bench-") as directory:
        stack = Stack(Config(data_dir=Path(directory) / "data", port_base=free_base(), brokers=1), roles=ALL_ROLES)
        began = time.monotonic()
        try:
            await asyncio.to_thread(stack.start)
            return time.monotonic() - began
        finally:
            await asyncio.to_thread(stack.stop)


async def _import_s() -> float:
    """In a process of its own, which has to find everything by itself."""
    return spread([await _one_import() for _ in range(IMPORTS)]).median


async def _one_import() -> float:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", _TIMED, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    if process.returncode != 0:
        raise Unavailable("fairgate cannot be imported")
    return float(out)
