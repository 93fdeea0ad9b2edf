"""What stands for the stages and stores in tests of the edge: in memory, failing on command."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from fairgate.domain.line import Line, LineState, first_sequence
from fairgate.domain.place import Place, PlaceSigner, Status
from fairgate.errors import FairgateError, LineNotOpen, NotFound, Unavailable, UnknownLine
from fairgate.http.services import Answer
from fairgate.queue.queue import PublicBoard
from fairgate.stores.users import User


def line(event_id: str, state: LineState = LineState.OPEN) -> Line:
    return Line(
        event_id=event_id,
        version=1,
        generation=1,
        shard=0,
        state=state,
        title="A line",
        rate=10.0,
        burst=10,
        capacity=100,
        hold_s=None,
        opens_at=None,
        sold_out=False,
    )


class QueueInMemory:
    """Answers at once, or when `answer_now` is called where `held` is set."""

    def __init__(self) -> None:
        self.signer = PlaceSigner(b"a key of the tests, long enough")
        self.lines = {"lobby": line("lobby"), "ev": line("ev"), "shut": line("shut", LineState.CLOSED)}
        self.waiting: dict[str, list[str]] = {event_id: [] for event_id in self.lines}
        self.outcomes: dict[tuple[str, str], Place] = {}
        self.fails: Exception | None = None
        self.held = False
        self.shown: list[str | None] = []
        self.asked = asyncio.Event()
        self._later: list[Callable[[], None]] = []

    def line(self, event_id: str) -> Line:
        if event_id not in self.lines:
            raise UnknownLine()
        return self.lines[event_id]

    def join(self, event_id: str, user_id: str, answer: Answer, place_token: str | None = None) -> None:
        self.shown.append(place_token)
        self._answer(lambda: self._joined(event_id, user_id), answer)

    def position(self, event_id: str, user_id: str, answer: Answer) -> None:
        self._answer(lambda: self._place(event_id, user_id), answer)

    async def leave(self, event_id: str, user_id: str) -> Place:
        if user_id in self.waiting[event_id]:
            self.waiting[event_id].remove(user_id)
            return Place(Status.LEFT, first_sequence(1) + 1)
        return self._place(event_id, user_id)

    async def board(self, event_id: str) -> PublicBoard:
        size = len(self.waiting[self.line(event_id).event_id])
        return PublicBoard(line=self.line(event_id), size=size, serving=0, admitted=0, remaining=100, steps=[(1, 0)])

    def answer_now(self) -> None:
        later, self._later = self._later, []
        for step in later:
            step()

    def _answer(self, place: Callable[[], Place], answer: Answer) -> None:
        self.asked.set()
        step = lambda: answer(self._or_error(place))  # noqa: E731
        self._later.append(step) if self.held else step()

    def _or_error(self, place: Callable[[], Place]) -> Place | FairgateError:
        if self.fails is not None and not isinstance(self.fails, FairgateError):
            raise self.fails
        try:
            return self.fails or place()
        except FairgateError as error:
            return error

    def _joined(self, event_id: str, user_id: str) -> Place:
        waiting = self.waiting[self.line(event_id).event_id]
        if user_id not in waiting and (event_id, user_id) not in self.outcomes:
            if not self.lines[event_id].state.lets_in:
                raise LineNotOpen()
            waiting.append(user_id)
        return self._place(event_id, user_id)

    def _place(self, event_id: str, user_id: str) -> Place:
        waiting = self.waiting[self.line(event_id).event_id]
        if outcome := self.outcomes.get((event_id, user_id)):
            return outcome
        if user_id not in waiting:
            return Place(Status.NONE, size=len(waiting))
        rank = waiting.index(user_id) + 1
        return Place(Status.WAITING, first_sequence(1) + rank, rank, len(waiting))


class SessionStoreInMemory:
    """Stands for Valkey and SQL; each can be `away`."""

    def __init__(self) -> None:
        self.hashes: dict[str, int] = {}
        self.revoked: dict[str, float] = {}
        self.number: int | None = 1
        self.sql_generation = 1
        self.valkey_away = self.sql_away = False
        self.touches = 0

    def wipe(self) -> None:
        self.hashes, self.number = {}, None

    async def write(self, sessions: Sequence[tuple[str, str, int]]) -> None:
        self._valkey()
        self.hashes |= {session_hash: ttl_s for session_hash, _, ttl_s in sessions}

    async def touch(self, sessions: Sequence[tuple[str, int]]) -> tuple[list[bool], int | None]:
        self._valkey()
        self.touches += len(sessions)
        return [session_hash in self.hashes for session_hash, _ in sessions], self.number

    async def delete(self, session_hash: str) -> None:
        self._valkey()
        self.hashes.pop(session_hash, None)

    async def generation(self) -> int:
        self._valkey()
        if self.number is None:
            self._sql()
            self.sql_generation += 1
            self.number = self.sql_generation
        return self.number

    async def revoke(self, session_hash: str, until: int) -> None:
        self._sql()
        self.revoked[session_hash] = until

    async def revoked_among(self, hashes: Sequence[str]) -> set[str]:
        self._sql()
        return set(hashes) & set(self.revoked)

    async def revoked_since(self, since: datetime) -> tuple[dict[str, float], datetime]:
        self._sql()
        return dict(self.revoked), datetime.now(UTC)

    async def forget_revoked(self) -> None:
        self._sql()

    def _valkey(self) -> None:
        if self.valkey_away:
            raise Unavailable("Valkey is away")

    def _sql(self) -> None:
        if self.sql_away:
            raise Unavailable("SQL is away")


class UserStoreInMemory:
    def __init__(self) -> None:
        self.users: dict[str, User] = {}

    async def get(self, user_id: str) -> User | None:
        return self.users.get(user_id)

    async def put(self, user: User) -> None:
        self.users[user.user_id] = user


class InboxInMemory:
    async def list(self, user_id: str, after: str | None = None, limit: int = 50) -> list[Any]:
        return []

    async def seen(self, user_id: str, id: str) -> bool:
        return False


class TicketsInMemory:
    async def issue(self, *_: Any) -> Any:
        raise NotFound()

    async def confirm(self, *_: Any) -> Any:
        raise NotFound()

    async def cancel(self, *_: Any) -> Any:
        raise NotFound()

    async def get(self, *_: Any) -> Any:
        raise NotFound()

    async def of_user(self, user_id: str) -> list[Any]:
        return []
