"""Gathers what arrives while the last batch is in flight, and sends it as one call per line.

At low load a batch is one user and waits for nothing but the end of the loop's turn. An answer is a callback, so that
the hot lane needs no task; with a thousand lines each batch is a call of its own, so that it must not need one either.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
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
    """Somebody else must be asked first."""

    answers: Awaitable[Answers | Settling]


Came: TypeAlias = Callable[[Answers | Settling | Later], None]
# Asks for all of these and calls back once, maybe before it returns; where it raises, it never will.
Ask: TypeAlias = Callable[[Line, Sequence[T], Came], None]

# Beyond this many unanswered users the process says 503 rather than grow: a second of work at full speed.
WAITING_MAX = 50_000


class Batcher(Generic[T]):
    """One kind of call (join or position) for all lines. `add` answers exactly once, maybe before it returns."""

    def __init__(self, ask: Ask[T], line_of: Callable[[str], Line], batch_max: int) -> None:
        self._ask, self._line_of, self._batch_max = ask, line_of, batch_max
        self._gathered: dict[str, list[tuple[T, Answer]]] = {}
        self._in_flight: set[str] = set()
        self._beginning: list[str] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._unanswered = 0

    def add(self, event_id: str, asked: T, answer: Answer) -> None:
        if self._unanswered >= WAITING_MAX:
            answer(Unavailable("too many requests at once"))
            return
        self._unanswered += 1
        waiting = self._gathered.get(event_id)
        if waiting is None:
            waiting = self._gathered[event_id] = []
        waiting.append((asked, answer))
        if event_id not in self._in_flight:
            self._in_flight.add(event_id)
            if not self._beginning:
                asyncio.get_running_loop().call_soon(self._begin)
            self._beginning.append(event_id)

    def _begin(self) -> None:
        beginning, self._beginning = self._beginning, []
        for event_id in beginning:
            self._next(event_id)

    def _next(self, event_id: str) -> None:
        """The next batch of this line, if anything is gathered: one at a time, since who asks later is placed later."""
        waiting = self._gathered.pop(event_id, None)
        if waiting is None:
            self._in_flight.discard(event_id)
            return
        batch = waiting[: self._batch_max]
        if len(waiting) > len(batch):
            self._gathered[event_id] = waiting[len(batch) :]
        try:
            self._ask(self._line_of(event_id), [asked for asked, _ in batch], partial(self._came, event_id, batch))
        except Exception as error:
            self._came(event_id, batch, [as_ours(error)] * len(batch))

    def _came(self, event_id: str, batch: list[tuple[T, Answer]], answers: Answers | Settling | Later) -> None:
        if isinstance(answers, Later):
            self._start(self._wait(event_id, batch, answers))
            return
        self._next(event_id)  # first: while these are answered, the others are on their way
        if isinstance(answers, Settling):
            self._start(self._settle(batch, answers))
        else:
            self._answer(batch, answers)

    async def _wait(self, event_id: str, batch: list[tuple[T, Answer]], later: Later) -> None:
        answers: Answers | Settling
        try:
            answers = await later.answers
        except Exception as error:
            answers = [as_ours(error)] * len(batch)
        self._came(event_id, batch, answers)

    async def _settle(self, batch: list[tuple[T, Answer]], settling: Settling) -> None:
        answers = settling.answers
        try:
            await settling.until
        except Exception as error:
            answers = [as_ours(error)] * len(batch)
        self._answer(batch, answers)

    def _answer(self, batch: list[tuple[T, Answer]], answers: Answers) -> None:
        self._unanswered -= len(batch)
        for (_, answer), value in zip(batch, answers, strict=True):
            answer(value)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def as_ours(error: Exception) -> FairgateError:
    """What a user may be told."""
    return error if isinstance(error, FairgateError) else Unavailable(repr(error))
