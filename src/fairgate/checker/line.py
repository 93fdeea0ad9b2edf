"""What Valkey holds of a line: who waits, who is claimed, what it remembers of the others. Read by the names of the
keys as they are documented (architecture: the line in Valkey).
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Sequence
from operator import itemgetter
from typing import Any

import msgspec

from fairgate.stores.keys import LineKeys
from fairgate.stores.valkey import translated

READ_S = 30.0
COUNTERS = ("joined", "left", "admitted", "departed")


class Claim(msgspec.Struct, frozen=True):
    """`age_s` by Valkey's own clock; None where nobody wrote down when it began."""

    user_id: str
    sequence: int
    age_s: float | None = None


class LineBook(msgspec.Struct, frozen=True, kw_only=True):
    """`waiting`: user → sequence. `held`: claims remain that found nothing to reserve. `outcomes`: user →
    `status:sequence[:ticket]`. `journal`: entries on their way to Kafka; None where there is no journal. `read_at`: by
    Valkey's clock, in epoch seconds.
    """

    waiting: dict[str, int] = {}
    claims: list[Claim] = []
    held: bool = False
    outcomes: dict[str, str] = {}
    counters: dict[str, int] = {}
    journal: int | None = None
    read_at: float = 0.0


async def read_line(valkey: Any, event_id: str) -> LineBook:
    """Raises `Unavailable`."""
    keys = LineKeys(event_id)
    with translated():
        async with asyncio.timeout(READ_S):
            seconds, micros = await valkey.time()
            now = seconds + micros / 1e6
            state = await valkey.hgetall(keys.state)
            return LineBook(
                waiting={user: int(score) for user, score in await valkey.zrange(keys.line, 0, -1, withscores=True)},
                claims=await _claims(valkey, keys, now),
                held=state.get("held") == "1",
                outcomes=await valkey.hgetall(keys.outcomes),
                counters={name: int(state[name]) for name in COUNTERS if name in state},
                journal=await _journal(valkey, keys),
                read_at=now,
            )


async def _claims(valkey: Any, keys: LineKeys, now: float) -> list[Claim]:
    """What was claimed together has one time, kept by its first sequence."""
    begun = sorted((int(first), int(at_ms) / 1000) for first, at_ms in (await valkey.hgetall(keys.claimed_at)).items())
    claims = await valkey.zrange(keys.claims, 0, -1, withscores=True)
    return [Claim(user, int(score), _age(int(score), begun, now)) for user, score in claims]


def _age(sequence: int, begun: Sequence[tuple[int, float]], now: float) -> float | None:
    place = bisect_right(begun, sequence, key=itemgetter(0))
    return now - begun[place - 1][1] if place else None


async def _journal(valkey: Any, keys: LineKeys) -> int | None:
    journal = "{" + keys.line + "}:journal"
    return int(await valkey.xlen(journal)) if await valkey.exists(journal) else None
