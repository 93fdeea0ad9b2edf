"""One waiting line in Valkey, as the stages use it. Each method is one script, one atomic step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import msgspec

from fairgate.domain.line import Line, first_sequence
from fairgate.domain.place import Outcome, Place
from fairgate.errors import FairgateError, StaleGeneration
from fairgate.stores.channel import Channel, Script, Word
from fairgate.stores.keys import WAKE_CHANNEL, LineKeys, canary
from fairgate.stores.line_answers import Answered, answered_of, each_answered, each_places, only
from fairgate.stores.stirred import Stirred

# A batch must not hold the server so long that another line's callers notice (512 joins are about 1 ms).
JOINS_MAX = 512
READS_MAX = 1_000

# An outcome is a cache in front of SQL; a week covers the life of a sale.
OUTCOME_KEPT_S = 7 * 86_400

_JOIN, _POSITION, _LEAVE, _BOARD = Script("join"), Script("position"), Script("leave"), Script("board")
_BOUND = Script("bound")
_PREPARE, _REMEMBER = Script("prepare"), Script("remember")

# A line's journal may hold this much on its way to Kafka: at 30 bytes a join, two millions.
JOURNAL_MAX_BYTES = 64 * 1024 * 1024

# Users with what became of them.
Outcomes: TypeAlias = Sequence[tuple[str, Outcome]]


class Board(msgspec.Struct, frozen=True, kw_only=True):
    """The public view of a line. `steps` are (sequence, rank) pairs, rank 0 first."""

    size: int
    claims: int
    serving: int
    joined: int
    left: int
    admitted: int
    departed: int
    recovering: bool
    bound: str
    steps: list[tuple[int, int]]


class Joining(NamedTuple):
    """Who joins one line. `shown`: of who shows a token, the index in `users` and the sequence that it proves; a lost
    place comes back where the rules allow it.
    """

    line: Line
    users: Sequence[str]
    shown: Sequence[tuple[int, int]] = ()


class LineStore:
    """The lines of one Valkey. Raises `Unavailable`, `StaleGeneration`; the owner's steps also `StaleEpoch`."""

    def __init__(self, channel: Channel, journal_max_bytes: int = JOURNAL_MAX_BYTES) -> None:
        self.channel, self._journal_max_bytes = channel, journal_max_bytes
        self._keys: dict[str, LineKeys] = {}
        self._stirred = Stirred(channel)

    def keys(self, event_id: str) -> LineKeys:
        keys = self._keys.get(event_id)
        if keys is None:
            keys = self._keys[event_id] = LineKeys(event_id)
        return keys

    # ---- what fans do

    async def join(self, line: Line, users: Sequence[str], shown: Sequence[tuple[int, int]] = ()) -> Answered:
        """One place, or one refusal, per user and in their order. At most `JOINS_MAX` users."""
        joining, fences = [Joining(line, users, shown)], [await self.fence_of(line)]
        answers = await self.channel.run(_JOIN, *self._join(joining, fences))
        return only(self._joined(joining, fences, answers))

    def begin_joins(
        self, joining: Sequence[Joining], then: Callable[[Sequence[Answered | FairgateError]], None]
    ) -> None:
        """`join` for many lines in one call: who is called back gets of each what was answered, or the error. Where
        `connected`; at most `JOINS_MAX` users of all lines.
        """
        fences = [self.fence(one.line) for one in joining]
        call = self._join(joining, fences)
        self.channel.begin(_JOIN, *call, lambda answers: then(self._joined(joining, fences, answers)))

    def _join(self, joining: Sequence[Joining], fences: Sequence[str]) -> tuple[list[str], list[Word]]:
        keys: list[str] = []
        words: list[Word] = [WAKE_CHANNEL, self._journal_max_bytes]
        for (line, users, shown), fence in zip(joining, fences, strict=True):
            first = first_sequence(line.generation)
            older = [(index + 1, sequence) for index, sequence in shown if sequence < first]
            keys += self.keys(line.event_id).of_join
            words += (fence, first, line.event_id, len(users), len(older))
            for pair in older:
                words += pair
            words += users
        return keys, words

    def _joined(
        self, joining: Sequence[Joining], fences: Sequence[str], answers: Any
    ) -> list[Answered | FairgateError]:
        return [
            self._journaling(one.line, answered, awaited=False) if isinstance(answered, Answered) else answered
            for one, answered in zip(joining, each_answered(answers, fences), strict=True)
        ]

    async def positions(self, line: Line, users: Sequence[str]) -> list[Place]:
        """Where each stands, in their order; status `none` where Valkey does not know. At most `READS_MAX` users."""
        await self.fence_of(line)
        return only(each_places(await self.channel.run(_POSITION, *self._positions([(line, users)])), 1))

    def begin_positions(
        self, asked: Sequence[tuple[Line, Sequence[str]]], then: Callable[[Sequence[list[Place] | FairgateError]], None]
    ) -> None:
        """`positions` for many lines in one call: who is called back gets of each the places, or the error. Where
        `connected`; at most `READS_MAX` users of all lines.
        """
        call = self._positions(asked)
        self.channel.begin(_POSITION, *call, lambda answers: then(each_places(answers, len(asked))))

    def _positions(self, asked: Sequence[tuple[Line, Sequence[str]]]) -> tuple[list[str], list[Word]]:
        keys: list[str] = []
        words: list[Word] = []
        for line, users in asked:
            keys += self.keys(line.event_id).of_position
            words += (self.fence(line), len(users), *users)
        return keys, words

    async def leave(self, line: Line, user_id: str) -> Answered:
        """`left`, or what the user is instead: too late once claimed or admitted."""
        k = self.keys(line.event_id)
        fence = await self.fence_of(line)
        answer = await self.channel.run(
            _LEAVE,
            [k.line, k.claims, k.state, k.outcomes, k.journal],
            [fence, user_id, self._journal_max_bytes],
        )
        return self._journaling(line, answered_of(answer, fence), awaited=True)

    def _journaling(self, line: Line, answered: Answered, *, awaited: bool) -> Answered:
        """What these places rest on may be new: the relay is told."""
        if answered.journal_id:
            self._stirred.add(line.event_id, awaited=awaited)
        return answered

    async def board(self, line: Line, steps: int) -> Board:
        k = self.keys(line.event_id)
        fence = await self.fence_of(line)
        size, claims, serving, joined, left, admitted, departed, recovering, bound, *pairs = await self.channel.run(
            _BOARD, [k.line, k.state, k.claims], [fence, steps]
        )
        table = list(zip(pairs[::2], pairs[1::2], strict=True))
        return Board(
            size=size,
            claims=claims,
            serving=serving,
            joined=joined,
            left=left,
            admitted=admitted,
            departed=departed,
            recovering=bool(recovering),
            bound=bound.decode(),
            steps=table,
        )

    # ---- what the owner of the lease does

    async def prepared(self, line: Line) -> bool:
        """Whether this server holds the line as SQL's generation left it."""
        await self.channel.connect()
        fence = await self.channel.command("HGET", self.keys(line.event_id).state, "fence")
        return line.generation > 0 and fence is not None and fence.decode() == self.fence(line)

    async def sing(self, owner: str, number: int) -> int | None:
        """The number of this owner's last song as the server has it (None: it has none); writes the new one."""
        await self.channel.connect()
        before = await self.channel.command("SET", canary(owner), number, "GET")
        return None if before is None else int(before)

    async def prepare(self, line: Line, epoch: int, *, new_generation: bool) -> tuple[int, int, bool]:
        """Write epoch, fence and settings. → (waiting, claims, whether it is recovering)."""
        k = self.keys(line.event_id)
        await self.channel.connect()
        waiting, claims, recovering = await self.channel.run(
            _PREPARE,
            [k.state, k.sequence, k.line, k.claims],
            [self.fence(line), epoch, int(new_generation), line.version, *settings_of(line)],
        )
        return waiting, claims, bool(recovering)

    async def waiting(self, line: Line) -> tuple[int, int]:
        """(waiting, claims)."""
        await self.channel.connect()
        k = self.keys(line.event_id)
        waiting = self.channel.command("ZCARD", k.line)
        return await waiting, await self.channel.command("ZCARD", k.claims)

    async def show_bound(self, line: Line, epoch: int, bound: str) -> None:
        """What decides how many are admitted now, for who reads the board."""
        await self.channel.run(_BOUND, [self.keys(line.event_id).state], [await self.fence_of(line), epoch, bound])

    # ---- what notification knows later

    async def remember_each(self, known: Sequence[tuple[str, Outcomes]]) -> list[FairgateError | None]:
        """Cache what became of users of these lines, of each at most `READS_MAX`; never over somebody who waits again.

        → for each None, or the error.
        """
        await self.channel.connect()
        answers = await self.channel.run_each(_REMEMBER, [self._remember(*one) for one in known])
        return [answer if isinstance(answer, FairgateError) else None for answer in answers]

    async def remember(self, event_id: str, outcomes: Outcomes) -> None:
        """The same for any number of one line."""
        for start in range(0, len(outcomes), READS_MAX):
            [error] = await self.remember_each([(event_id, outcomes[start : start + READS_MAX])])
            if error is not None:
                raise error

    def _remember(self, event_id: str, outcomes: Outcomes) -> tuple[list[str], list[Word]]:
        k = self.keys(event_id)
        flat: list[Word] = [OUTCOME_KEPT_S]
        for user_id, outcome in outcomes:
            flat += (user_id, outcome.sequence, outcome.packed())
        return [k.line, k.outcomes, k.claims], flat

    @property
    def connected(self) -> bool:
        """Whether a call can begin: what the server was not prepared for is refused."""
        return self.channel.connected

    def fence(self, line: Line) -> str:
        return f"{line.generation}:{self.channel.run_id}"

    async def fence_of(self, line: Line) -> str:
        """What this server must hold for the line. Raises `StaleGeneration` for a line that was never prepared."""
        if line.generation == 0:
            raise StaleGeneration
        await self.channel.connect()
        return self.fence(line)


def settings_of(line: Line) -> list[str | int]:
    """The settings that the scripts obey, as fields and values of the state."""
    return ["state", line.state.value, "sold_out", int(line.sold_out), "rate", repr(line.rate)]
