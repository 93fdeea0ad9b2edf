"""The queue service (F1–F4): join, position, leave, the public board. Neither Kafka nor SQL is on a join's way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import NamedTuple, TypeVar

import msgspec

from fairgate.domain.ids import event_id as valid_event_id
from fairgate.domain.line import Line
from fairgate.domain.place import Outcome, Place, PlaceSigner, Status
from fairgate.errors import FairgateError, NotJournaled, StaleGeneration, Unavailable, UnknownLine
from fairgate.failpoints import failpoint
from fairgate.queue.batcher import Answer, Answers, Batcher, Came, ForLine, Later, Settling
from fairgate.queue.journaled import Journaled
from fairgate.stores.database import Database
from fairgate.stores.line import READS_MAX, Board, Joining, LineStore
from fairgate.stores.line_answers import Answered
from fairgate.stores.lines import LineBook
from fairgate.stores.standings import read_standings

# F3: cacheable for a second, and about 128 steps.
BOARD_S, BOARD_STEPS = 1.0, 128

# What is gathered beyond this goes with the next call, which is on its way while these are answered. Of a crowd in one
# call the first are out of the core's caches when they are answered: with 512 connections that is a tenth of the rate.
BATCH_MAX = 128
# A call holds the server: alone in its line a join takes as long as ten in a crowd.
LINES_MAX = 32

# Kafka has a leave within milliseconds; who leaves waits no longer than this before SQL keeps it.
LEAVE_S = 1.0


T = TypeVar("T")

# Valkey does not know, or knows a state that passes: a cache may have missed the next one.
_ASK_SQL = frozenset({Status.NONE, Status.ADMITTED})


class Shown(NamedTuple):
    """Who joins, and the place that a token proves to have been this user's."""

    user_id: str
    sequence: int


class PublicBoard(msgspec.Struct, frozen=True, kw_only=True):
    """F3: the line as everybody may see it. `remaining` is None for unlimited."""

    line: Line
    size: int
    serving: int
    admitted: int
    remaining: int | None
    steps: list[tuple[int, int]]
    recovering: bool = False
    bound: str = "none"  # what decides how many are admitted now (`admission/pace.py`)


class Queue:
    """What the edge calls. `signer` makes the placeToken of a place.

    With `journaled`, who leaves is answered when Kafka has it, or SQL where that takes longer than `LEAVE_S`: nobody
    shows a token of having left, so that a leave which was lost with the server would bring its user back. With
    `joins_wait`, who joins is answered when Kafka has it.
    """

    def __init__(
        self,
        lines: LineBook,
        store: LineStore,
        database: Database,
        signer: PlaceSigner,
        journaled: Journaled | None = None,
        *,
        joins_wait: bool = True,
    ) -> None:
        self._lines, self._store, self._database = lines, store, database
        self.signer, self._journaled = signer, journaled
        self._joins_wait = joins_wait and journaled is not None
        bounds = {"users_max": BATCH_MAX, "lines_max": LINES_MAX}
        self._joins: Batcher[str | Shown] = Batcher(self._ask_joins, lines.get, **bounds)
        self._reads: Batcher[str] = Batcher(self._ask_reads, lines.get, **bounds)
        self._boards: dict[str, tuple[float, PublicBoard]] = {}
        self._reading: dict[str, asyncio.Lock] = {}

    def line(self, event_id: str) -> Line:
        """Raises `UnknownLine`; `InvalidRequest` for what is no id at all."""
        try:
            return self._lines.get(event_id)
        except UnknownLine:
            valid_event_id(event_id)
            raise

    def join(self, event_id: str, user_id: str, answer: Answer, place_token: str | None = None) -> None:
        """A place at the tail, or the place or outcome that the user has. Answers exactly once.

        A genuine `place_token` may bring a lost place back; any other is as good as none.
        """
        sequence = None if place_token is None else self.signer.sequence(place_token, event_id, user_id)
        self._joins.add(event_id, user_id if sequence is None else Shown(user_id, sequence), answer)

    def position(self, event_id: str, user_id: str, answer: Answer) -> None:
        """Where the user stands; where Valkey does not know, SQL is asked."""
        self._reads.add(event_id, user_id, answer)

    async def positions(self, event_id: str, users: Sequence[str]) -> list[Place]:
        """Many users of one line at once, in their order; `none` for whom nobody can say now."""
        places: list[Place] = []
        for start in range(0, len(users), READS_MAX):
            answers = await self._send_reads(self.line(event_id), users[start : start + READS_MAX])
            places += [answer if isinstance(answer, Place) else Place(Status.NONE) for answer in answers]
        return places

    async def leave(self, event_id: str, user_id: str) -> Place:
        """`left` now, or what the user is instead. Whatever fails after it, who was answered `left` has left."""
        place = await self._leave(event_id, user_id)
        if place.status is not Status.NONE:
            return place
        known = (await self._standings(event_id, [user_id])).get(user_id)
        return place if known is None else Place(known.status, known.sequence, None, place.size, known.ticket_id)

    async def _leave(self, event_id: str, user_id: str) -> Place:
        answered = await self._give_up(event_id, user_id)
        failpoint("queue.left")
        place = _one(answered)
        if self._journaled is None:
            return place
        try:
            await self._journaled.wait(event_id, answered, LEAVE_S)
        except NotJournaled:
            if place.status is Status.LEFT:
                await self._keep_leave(event_id, user_id, place.sequence or 0)
                # A server that was restored meanwhile did not know of it yet, and has the user back in the line.
                return _one(await self._give_up(event_id, user_id))
        return place

    async def _give_up(self, event_id: str, user_id: str) -> Answered:
        return await self._current(self._lines.get(event_id), lambda line: self._store.leave(line, user_id))

    async def _keep_leave(self, event_id: str, user_id: str, sequence: int) -> None:
        async with self._database.connection() as connection:
            await self._database.queries.keep_leave(connection, event_id=event_id, user_id=user_id, sequence=sequence)

    async def board(self, event_id: str) -> PublicBoard:
        """At most `BOARD_S` old; one reader asks Valkey for all that come at the same time."""
        line = self.line(event_id)
        async with self._reading.setdefault(event_id, asyncio.Lock()):
            made_at, board = self._boards.get(event_id, (0.0, None))
            if board is None or time.monotonic() - made_at >= BOARD_S or board.line.version != line.version:
                board = await self._read_board(line)
                self._boards[event_id] = (time.monotonic(), board)
            return board

    async def _read_board(self, line: Line) -> PublicBoard:
        seen: Board = await self._current(line, lambda known: self._store.board(known, BOARD_STEPS))
        return PublicBoard(
            line=line,
            size=seen.size + seen.claims,
            serving=seen.serving,
            admitted=seen.admitted,
            remaining=None if line.capacity is None else max(0, line.capacity - seen.admitted),
            steps=seen.steps,
            recovering=seen.recovering,
            bound=seen.bound,
        )

    # ---- joins, a call at a time: a callback while all is well, a task where the way is longer

    def _ask_joins(self, asked: Sequence[tuple[Line, Sequence[str | Shown]]], came: Came) -> None:
        if not self._store.connected:
            came([Later(self._send_joins(line, some)) for line, some in asked])
            return

        def answered(answers: Sequence[Answered | FairgateError]) -> None:
            came(
                [
                    self._failed(answer, some, partial(self._send_joins, line, some))
                    if isinstance(answer, FairgateError)
                    else self._joined(line, answer)
                    for (line, some), answer in zip(asked, answers, strict=True)
                ]
            )

        self._store.begin_joins([Joining(line, *_named(some)) for line, some in asked], answered)

    async def _send_joins(self, line: Line, asked: Sequence[str | Shown]) -> Answers | Settling:
        users, shown = _named(asked)
        return self._joined(line, await self._current(line, lambda known: self._store.join(known, users, shown)))

    def _joined(self, line: Line, answered: Answered) -> Answers | Settling:
        failpoint("queue.joined")
        if self._journaled is None or not self._joins_wait:
            return answered.places
        return Settling(answered.places, self._journaled.wait(line.event_id, answered))

    def _failed(
        self, error: FairgateError, asked: Sequence[object], again: Callable[[], Awaitable[Answers | Settling]]
    ) -> Answers | Later:
        """The long way for settings that have moved on. Everything else is the answer."""
        return Later(again()) if isinstance(error, StaleGeneration) else [error] * len(asked)

    # ---- reads

    def _ask_reads(self, asked: Sequence[tuple[Line, Sequence[str]]], came: Came) -> None:
        if not self._store.connected:
            came([Later(self._send_reads(line, users)) for line, users in asked])
            return

        def answered(answers: Sequence[list[Place] | FairgateError]) -> None:
            came([self._read(line, users, answer) for (line, users), answer in zip(asked, answers, strict=True)])

        self._store.begin_positions(asked, answered)

    def _read(self, line: Line, users: Sequence[str], answer: list[Place] | FairgateError) -> ForLine:
        if isinstance(answer, FairgateError):
            return self._failed(answer, users, partial(self._send_reads, line, users))
        if _ASK_SQL.isdisjoint([place.status for place in answer]):
            return answer
        return Later(self._made_sure(line, users, answer))

    async def _send_reads(self, line: Line, users: Sequence[str]) -> Answers:
        places = await self._current(line, lambda known: self._store.positions(known, users))
        return await self._made_sure(line, users, places)

    async def _made_sure(self, line: Line, users: Sequence[str], places: Sequence[Place]) -> Answers:
        """What Valkey does not know, and what may have moved on behind it, SQL is asked, all users at once."""
        unsure = [i for i, place in enumerate(places) if place.status in _ASK_SQL]
        if not unsure:
            return places
        answers: list[Place | FairgateError] = list(places)
        try:
            standings = await self._standings(line.event_id, [users[i] for i in unsure])
        except Unavailable as error:
            for i in unsure:
                answers[i] = error if places[i].status is Status.NONE else places[i]
            return answers
        for i in unsure:
            known = standings.get(users[i])
            if known is not None:
                answers[i] = Place(known.status, known.sequence, None, places[i].size, known.ticket_id)
        return answers

    async def _current(self, line: Line, step: Callable[[Line], Awaitable[T]]) -> T:
        """Once more with fresh settings where the generation has just moved on."""
        try:
            return await step(line)
        except StaleGeneration:
            await self._lines.refresh()
            newer = self._lines.get(line.event_id)
            if newer.generation == line.generation:
                raise
            return await step(newer)

    async def _standings(self, event_id: str, users: Sequence[str]) -> dict[str, Outcome]:
        async with self._database.connection() as connection:
            return await read_standings(self._database, connection, event_id, users)


def _named(asked: Sequence[str | Shown]) -> tuple[list[str], list[tuple[int, int]]]:
    """The users, and of who shows a token the index among them and the sequence."""
    users = [one if isinstance(one, str) else one.user_id for one in asked]
    return users, [(i, one.sequence) for i, one in enumerate(asked) if isinstance(one, Shown)]


def _one(answered: Answered) -> Place:
    (place,) = answered.places
    assert isinstance(place, Place), "a leave is never refused"
    return place
