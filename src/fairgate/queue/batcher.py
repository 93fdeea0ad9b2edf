"""Gathers what arrives while the last batch is in flight, and sends it as one call per line.

At low load a batch is one user and waits for nothing. An answer is a callback, so that the hot lane needs no task.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, NamedTuple, TypeAlias, TypeVar

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


Send: TypeAlias = Callable[[Line, Sequence[T]], Awaitable[Answers | Settling]]

# Beyond this many unanswered users the process says 503 rather than grow: a second of work at full speed.
WAITING_MAX = 50_000


class Batcher(Generic[T]):
    """One kind of call (join or position) for all lines. `add` answers exactly once, maybe before it returns."""

    def __init__(self, send: Send[T], line_of: Callable[[str], Line], batch_max: int) -> None:
        self._send, self._line_of, self._batch_max = send, line_of, batch_max
        self._gathered: dict[str, list[tuple[T, Answer]]] = {}
        self._in_flight: dict[str, asyncio.Task[None]] = {}
        self._settling: set[asyncio.Task[None]] = set()
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
            self._in_flight[event_id] = asyncio.get_running_loop().create_task(self._drain(event_id))

    async def _drain(self, event_id: str) -> None:
        """Send batch after batch until nothing is gathered."""
        try:
            while waiting := self._gathered.pop(event_id, None):
                for start in range(0, len(waiting), self._batch_max):
                    await self._batch(event_id, waiting[start : start + self._batch_max])
        finally:
            del self._in_flight[event_id]

    async def _batch(self, event_id: str, batch: list[tuple[T, Answer]]) -> None:
        try:
            answers = await self._send(self._line_of(event_id), [asked for asked, _ in batch])
        except Exception as error:
            answers = [_ours(error)] * len(batch)
        if isinstance(answers, Settling):  # the next batch does not wait for this one's word
            task = asyncio.get_running_loop().create_task(self._settle(batch, answers))
            self._settling.add(task)
            task.add_done_callback(self._settling.discard)
        else:
            self._answer(batch, answers)

    async def _settle(self, batch: list[tuple[T, Answer]], settling: Settling) -> None:
        answers = settling.answers
        try:
            await settling.until
        except Exception as error:
            answers = [_ours(error)] * len(batch)
        self._answer(batch, answers)

    def _answer(self, batch: list[tuple[T, Answer]], answers: Answers) -> None:
        self._unanswered -= len(batch)
        for (_, answer), value in zip(batch, answers, strict=True):
            answer(value)


def _ours(error: Exception) -> FairgateError:
    return error if isinstance(error, FairgateError) else Unavailable(repr(error))
