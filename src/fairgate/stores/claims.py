"""Claims in Valkey: what the owner of a line moves out of it, and takes away once SQL has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from fairgate.domain.line import Line
from fairgate.domain.place import Outcome, Status
from fairgate.stores.channel import Script
from fairgate.stores.line import OUTCOME_KEPT_S, LineStore

CLAIMS_MAX = 2_000

_CLAIM, _CLEAR, _CLEAR_ADMITTED = Script("claim"), Script("clear"), Script("clear_admitted")


class Claim(NamedTuple):
    """A waiter who has left the sorted set but is not yet safely in SQL."""

    user_id: str
    sequence: int


class Claimed(NamedTuple):
    """What a claim call moved, oldest first, and how many remain behind."""

    claims: list[Claim]
    waiting: int
    pending: int


class ClaimStore:
    """Raises `Unavailable`; `StaleGeneration`, `StaleEpoch` where the line is another's to move."""

    def __init__(self, store: LineStore) -> None:
        self._store = store

    async def claim(self, line: Line, epoch: int, count: int) -> Claimed:
        """Take `count` from the head; what was claimed before comes first."""
        assert 0 < count <= CLAIMS_MAX
        k = self._store.keys(line.event_id)
        waiting, pending, flat = await self._store.channel.run(
            _CLAIM, [k.line, k.claims, k.claimed_at, k.state], [await self._store.fence_of(line), epoch, count]
        )
        claims = [Claim(user.decode(), int(score)) for user, score in zip(flat[::2], flat[1::2], strict=True)]
        return Claimed(claims, waiting, pending)

    async def clear(
        self, line: Line, epoch: int, counter: str, outcomes: Sequence[tuple[str, Outcome]], *, held: bool
    ) -> None:
        """These claims are in SQL. `held`: some found nothing to reserve and stay claimed."""
        if not held and counter == "admitted" and await self._cleared_as_one(line, epoch, outcomes):
            return
        flat: list[str | int] = []
        for user_id, outcome in outcomes:
            flat += (user_id, outcome.sequence, outcome.packed())
        await self._store.channel.run(
            _CLEAR,
            self._keys(line),
            [await self._store.fence_of(line), epoch, counter, int(held), OUTCOME_KEPT_S, *flat],
        )

    async def _cleared_as_one(self, line: Line, epoch: int, outcomes: Sequence[tuple[str, Outcome]]) -> bool:
        """A crowd's batch: everybody in it was admitted, and nobody else is claimed between its first and its last."""
        if not outcomes or any(outcome.status is not Status.ADMITTED for _, outcome in outcomes):
            return False
        sequences = [outcome.sequence for _, outcome in outcomes]
        span = [min(sequences), max(sequences), len(sequences)]
        cleared: int = await self._store.channel.run(
            _CLEAR_ADMITTED, self._keys(line), [await self._store.fence_of(line), epoch, *span, OUTCOME_KEPT_S]
        )
        return cleared > 0

    def _keys(self, line: Line) -> list[str]:
        k = self._store.keys(line.event_id)
        return [k.claims, k.claimed_at, k.state, k.outcomes]
