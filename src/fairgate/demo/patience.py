"""Says whom the rehearsal waits for, and why, when nobody has come to an end for a while."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence

import asyncpg

from fairgate.checker import books
from fairgate.checker.places import signs
from fairgate.config import Config
from fairgate.crowd.fan import Fan

# A line that stands still for this long deserves a word; of many who wait, a few names are enough.
LONG_S, NAMED = 20.0, 3
LOOK_S = 1.0
ANSWER_S = 5.0

Inbox = Callable[[str], Awaitable[str]]


async def watch(fans: Sequence[Fan], inbox: Inbox, say: Callable[[str], None]) -> None:
    """Until cancelled. `inbox(user id)` is what SQL says that this user was told."""
    done, since = -1, time.monotonic()
    while True:
        await asyncio.sleep(LOOK_S)
        now, before, done = time.monotonic(), done, sum(fan.history.done for fan in fans)
        if done != before:
            since = now
        elif now - since >= LONG_S:
            since = now
            for line in await still_waiting(fans, inbox):
                say(line)


async def still_waiting(fans: Sequence[Fan], inbox: Inbox) -> list[str]:
    """A line for each of the first few, and how many more there are."""
    waiting = [fan for fan in fans if fan.history.arrived_at is not None and not fan.history.done]
    named = [
        f"  waiting for {fan.history.user_id or 'a fan without a session'}: {signs(fan.history)}, {fan.connection};"
        f" inbox: {await inbox(fan.history.user_id)}"
        for fan in waiting[:NAMED]
    ]
    return named + ([f"  … and {len(waiting) - NAMED} more"] if len(waiting) > NAMED else [])


def inbox_of(config: Config, event_id: str) -> Inbox:
    """Never raises: what cannot be asked is said so."""

    async def inbox(user_id: str) -> str:
        with contextlib.suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            async with asyncio.timeout(ANSWER_S):
                return await _rows(config, event_id, user_id)
        return "SQL does not answer"

    return inbox


async def _rows(config: Config, event_id: str, user_id: str) -> str:
    sql = await books.connect(config)
    try:
        rows = [row async for row in books.queries().inbox_of(sql, event_id=event_id, user_id=user_id)]
    finally:
        await sql.close()
    told = [f"{row['kind']} {'seen after' if row['seen'] else 'unseen for'} {row['seconds']:.1f} s" for row in rows]
    return ", ".join(told) or "empty"
