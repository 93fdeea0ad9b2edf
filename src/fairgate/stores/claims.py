"""Claims in Valkey: what the owner of a line moves out of it, and takes away once SQL has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from fairgate.domain.line import Line
from fairgate.domain.place import Status
from fairgate.errors import FairgateError
from fairgate.stores.channel import Script, Word
from fairgate.stores.line import OUTCOME_KEPT_S, LineStore, Outcomes

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


class Settled(NamedTuple):
    """Claims of a line that SQL has, and what became of each user. `held`: others found nothing to reserve and stay
    claimed. `counter` is what they raise: `admitted`, `departed`.
    """

    line: Line
    epoch: int
    counter: str
    outcomes: Outcomes
    held: bool = False

    @property
    def all_admitted(self) -> bool:
        """As of a crowd's batch: those between its first and its last can be cleared at once."""
        return (
            not self.held
            and self.counter == "admitted"
            and len(self.outcomes) > 0
            and all(outcome.status is Status.ADMITTED for _, outcome in self.outcomes)
        )


class ClaimStore:
    """Raises `Unavailable`; `StaleGeneration`, `StaleEpoch` where the line is another's to move."""

    def __init__(self, store: LineStore) -> None:
        self._store = store

    async def claim_each(self, wanted: Sequence[tuple[Line, int, int]]) -> list[Claimed | FairgateError]:
        """Of each (line, epoch, count): take `count` from the head; what was claimed before comes first.

        → what each has, or the error.
        """
        await self._store.channel.connect()
        answers = await self._store.channel.run_each(_CLAIM, [self._claim(*one) for one in wanted])
        return [answer if isinstance(answer, FairgateError) else _claimed(answer) for answer in answers]

    def _claim(self, line: Line, epoch: int, count: int) -> tuple[list[str], list[Word]]:
        assert 0 < count <= CLAIMS_MAX
        k = self._store.keys(line.event_id)
        return [k.line, k.claims, k.claimed_at, k.state], [self._store.fence(line), epoch, count]

    async def claim(self, line: Line, epoch: int, count: int) -> Claimed:
        [claimed] = await self.claim_each([(line, epoch, count)])
        if isinstance(claimed, FairgateError):
            raise claimed
        return claimed

    async def clear_each(self, settled: Sequence[Settled]) -> list[FairgateError | None]:
        """SQL has these. → for each None, or the error."""
        await self._store.channel.connect()
        at_once = {i: self._at_once(one) for i, one in enumerate(settled) if one.all_admitted}
        answers = await self._run_each(_CLEAR_ADMITTED, at_once)
        # None of a batch is cleared at once where others are claimed between its first and its last.
        others = {i: self._one_by_one(one) for i, one in enumerate(settled) if not answers.get(i)}
        answers |= await self._run_each(_CLEAR, others)
        return [answers[i] if isinstance(answers[i], FairgateError) else None for i in range(len(settled))]

    async def _run_each(self, script: Script, calls: Mapping[int, tuple[list[str], list[Word]]]) -> dict[int, Any]:
        return dict(zip(calls, await self._store.channel.run_each(script, list(calls.values())), strict=True))

    def _at_once(self, one: Settled) -> tuple[list[str], list[Word]]:
        sequences = [outcome.sequence for _, outcome in one.outcomes]
        span = (min(sequences), max(sequences), len(sequences))
        return self._keys(one.line), [self._store.fence(one.line), one.epoch, *span, OUTCOME_KEPT_S]

    def _one_by_one(self, one: Settled) -> tuple[list[str], list[Word]]:
        flat: list[Word] = []
        for user_id, outcome in one.outcomes:
            flat += (user_id, outcome.sequence, outcome.packed())
        fence = self._store.fence(one.line)
        return self._keys(one.line), [fence, one.epoch, one.counter, int(one.held), OUTCOME_KEPT_S, *flat]

    async def clear(self, settled: Settled) -> None:
        [error] = await self.clear_each([settled])
        if error is not None:
            raise error

    def _keys(self, line: Line) -> list[str]:
        k = self._store.keys(line.event_id)
        return [k.claims, k.claimed_at, k.state, k.outcomes]


def _claimed(answer: list[Any]) -> Claimed:
    waiting, pending, flat = answer
    claims = [Claim(user.decode(), int(score)) for user, score in zip(flat[::2], flat[1::2], strict=True)]
    return Claimed(claims, waiting, pending)
