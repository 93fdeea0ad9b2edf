"""Gathers what arrives while the last batch is in flight. At low load a batch is one item and waits for nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import structlog

from fairgate.errors import FairgateError, Unavailable

T = TypeVar("T")
log = structlog.get_logger("fairgate.users")


class Batch(Generic[T]):
    """`flush` answers every item of a batch; when it raises, `refuse` answers them, each exactly once.

    `size` bounds a batch, `waiting_max` what may wait: beyond it an item is refused at once.
    """

    def __init__(
        self,
        flush: Callable[[list[T]], Awaitable[None]],
        refuse: Callable[[T, FairgateError], None],
        size: int,
        waiting_max: int,
    ) -> None:
        self._flush, self._refuse = flush, refuse
        self._size, self._waiting_max = size, waiting_max
        self._waiting: list[T] = []
        self._task: asyncio.Task[None] | None = None

    def add(self, item: T) -> None:
        if len(self._waiting) >= self._waiting_max:
            self._refuse(item, Unavailable("too many sessions at once"))
            return
        self._waiting.append(item)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._drain())

    async def _drain(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[: self._size], self._waiting[self._size :]
                await self._one(batch)
        finally:
            self._task = None

    async def _one(self, batch: list[T]) -> None:
        try:
            await self._flush(batch)
        except FairgateError as error:
            for item in batch:
                self._refuse(item, error)
        except Exception as error:
            log.error("a batch of sessions failed", exc_info=error)
            for item in batch:
                self._refuse(item, FairgateError())
