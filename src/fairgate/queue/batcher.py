"""Gathers what arrives while the last call is in flight, and sends it as one call for all lines.

At low load a call is one user and waits for nothing but the end of the loop's turn. An answer is a callback, so that
the hot lane needs no task; with a thousand lines most users of a call are alone in theirs, so that no line must need
one either.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from itertools import islice
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar

from fairgate.domain.line import Line
from fairgate.domain.place import Place
from fairgate.errors import FairgateError, Unavailable

Answer: TypeAlias = Callable[[Place | FairgateError], None]
Answers: TypeAlias = Sequence[Place | FairgateError]

T = TypeVar("T")


class Settling(NamedTuple):
    """These answers hold once `until` is done; if that raises, everybody is answered its error."""

    answers: Answers
    until: Awaitable[None]


class Later(NamedTuple):
    """Somebody else must be asked first. Until then the line waits; the others do not."""

    answers: Awaitable[Answers | Settling]


# What came for the users of one line, in their order.
ForLine: TypeAlias = Answers | Settling | Later
Came: TypeAlias = Callable[[Sequence[ForLine]], None]
# Asks for the users of each of these lines, no line twice, and calls back once with what came for each, maybe before it
# returns; where it raises, it never will.
Ask: TypeAlias = Callable[[Sequence[tuple[Line, Sequence[T]]], Came], None]

# Beyond this many unanswered users the process says 503 rather than grow: a second of work at full speed.
WAITING_MAX = 50_000


class _Part(NamedTuple, Generic[T]):
    """A call's users of one line, with the callbacks."""

    event_id: str
    waiting: Sequence[tuple[T, Answer]]


class Batcher(Generic[T]):
    """One kind of call (join or position) for all lines. `add` answers exactly once, maybe before it returns.

    One call at a time, since who asks later is placed later: of at most `users_max` users in `lines_max` lines, that
    which has waited longest first. Of who asks in a line that is held (`Later`), nobody goes before it is let go.
    """

    def __init__(self, ask: Ask[T], line_of: Callable[[str], Line], *, users_max: int, lines_max: int) -> None:
        self._ask, self._line_of = ask, line_of
        self._users_max, self._lines_max = users_max, lines_max
        self._gathered: dict[str, list[tuple[T, Answer]]] = {}
        self._held: dict[str, list[tuple[T, Answer]]] = {}
        self._calling = False  # or about to
        self._asking = False  # in the middle of it
        self._tasks: set[asyncio.Task[None]] = set()
        self._unanswered = 0

    def add(self, event_id: str, asked: T, answer: Answer) -> None:
        if self._unanswered >= WAITING_MAX:
            answer(Unavailable("too many requests at once"))
            return
        self._unanswered += 1
        waiting = self._held.get(event_id)
        if waiting is None:
            waiting = self._gathering(event_id)
        waiting.append((asked, answer))

    def _gathering(self, event_id: str) -> list[tuple[T, Answer]]:
        """Who goes with the next call, which begins soon."""
        waiting = self._gathered.get(event_id)
        if waiting is None:
            waiting = self._gathered[event_id] = []
        if not self._calling:
            self._calling = True
            asyncio.get_running_loop().call_soon(self._call)
        return waiting

    def _call(self) -> None:
        """What is gathered goes; where nothing is, the next who asks begins."""
        asked: list[tuple[Line, Sequence[T]]] = []
        parts: list[_Part[T]] = []
        while self._gathered and not parts:
            asked, parts = self._next()
        self._calling = bool(parts)
        if not parts:
            return
        self._asking = True
        try:
            self._ask(asked, partial(self._came, parts))
        except Exception as error:
            self._came(parts, [[as_ours(error)] * len(part.waiting) for part in parts])
        finally:
            self._asking = False

    def _next(self) -> tuple[list[tuple[Line, Sequence[T]]], list[_Part[T]]]:
        asked: list[tuple[Line, Sequence[T]]] = []
        parts: list[_Part[T]] = []
        room = self._users_max
        for event_id in list(islice(self._gathered, self._lines_max)):
            waiting = self._gathered.pop(event_id)
            try:
                line = self._line_of(event_id)
            except FairgateError as error:
                self._answer(waiting, [error] * len(waiting))
                continue
            if len(waiting) > room:
                self._gathered[event_id] = waiting[room:]  # behind all others
                waiting = waiting[:room]
            room -= len(waiting)
            asked.append((line, [one for one, _ in waiting]))
            parts.append(_Part(event_id, waiting))
            if room == 0:
                break
        return asked, parts

    def _came(self, parts: Sequence[_Part[T]], answers: Sequence[ForLine]) -> None:
        for part, later in zip(parts, answers, strict=True):
            if isinstance(later, Later):
                self._hold(part, later)
        if self._asking:
            asyncio.get_running_loop().call_soon(self._call)
        else:
            self._call()  # first: while these are answered, the others are on their way
        for part, answer in zip(parts, answers, strict=True):
            if not isinstance(answer, Later):
                self._end(part, answer)

    def _hold(self, part: _Part[T], later: Later) -> None:
        self._held[part.event_id] = self._gathered.pop(part.event_id, [])
        self._start(self._wait(part, later))

    async def _wait(self, part: _Part[T], later: Later) -> None:
        answers: Answers | Settling
        try:
            answers = await later.answers
        except Exception as error:
            answers = [as_ours(error)] * len(part.waiting)
        held = self._held.pop(part.event_id)
        if held:
            self._gathering(part.event_id).extend(held)
        self._end(part, answers)

    def _end(self, part: _Part[T], answers: Answers | Settling) -> None:
        if isinstance(answers, Settling):
            self._start(self._settle(part, answers))
        else:
            self._answer(part.waiting, answers)

    async def _settle(self, part: _Part[T], settling: Settling) -> None:
        answers = settling.answers
        try:
            await settling.until
        except Exception as error:
            answers = [as_ours(error)] * len(part.waiting)
        self._answer(part.waiting, answers)

    def _answer(self, waiting: Sequence[tuple[T, Answer]], answers: Answers) -> None:
        self._unanswered -= len(waiting)
        for (_, answer), value in zip(waiting, answers, strict=True):
            answer(value)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def as_ours(error: Exception) -> FairgateError:
    """What a user may be told."""
    return error if isinstance(error, FairgateError) else Unavailable(repr(error))
