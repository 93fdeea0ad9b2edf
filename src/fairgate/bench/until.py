"""Looking again and again, within a bound."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from fairgate.errors import Unavailable

LOOK_EVERY_S = 0.1


async def until(done: Callable[[], Awaitable[bool]], within_s: float, what: str) -> None:
    """Returns when `done` says so. Raises `Unavailable`: `what` did not come."""
    deadline = time.monotonic() + within_s
    while not await done():
        if time.monotonic() > deadline:
            raise Unavailable(f"{what}: not within {within_s:.0f} s")
        await asyncio.sleep(LOOK_EVERY_S)
