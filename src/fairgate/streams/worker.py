"""A thread for calls that block, and that can be given up: librdkafka's own bounds do not always hold.

Seen with 2.16: `send_offsets_to_transaction` outlasts its time for minutes when the broker restarts under it.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any


class Worker:
    """Does one thing after the other. A daemon: a call that never returns does not keep the process."""

    def __init__(self, name: str) -> None:
        self._jobs: queue.SimpleQueue[tuple[Future[Any], Callable[..., Any], tuple[Any, ...]] | None]
        self._jobs = queue.SimpleQueue()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    async def do(self, work: Callable[..., Any], *arguments: Any, within_s: float) -> Any:
        """What `work` returns or raises. `TimeoutError`: it is still at it; this worker is of no use any more."""
        future: Future[Any] = Future()
        self._jobs.put((future, work, arguments))
        answer = asyncio.wrap_future(future)
        answer.add_done_callback(_seen)
        async with asyncio.timeout(within_s):  # `wait_for` loses a cancellation that comes together with the answer
            return await asyncio.shield(answer)

    def end(self) -> None:
        """After what it is doing. Does not wait."""
        self._jobs.put(None)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            future, work, arguments = job
            try:
                result = work(*arguments)
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)


def _seen(answer: asyncio.Future[Any]) -> None:
    """Also where nobody waits any more: what is never asked for would be logged as lost."""
    if not answer.cancelled():
        answer.exception()
