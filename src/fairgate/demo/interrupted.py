"""Runs a rehearsal so that a signal ends it.

uvloop takes what a signal's handler raises while bytes are read for an error of that connection, and goes on: Ctrl-C
would be lost. So the loop itself hears the signals and cancels; then they go to who would have had them.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

import uvloop

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    """What `work` returns. Where a signal ended it, its handler is called as soon as `work` has cleaned up."""
    heard: list[int] = []
    try:
        return uvloop.run(_hearing(work, heard))
    finally:
        for number in heard[:1]:
            signal.raise_signal(number)


async def _hearing(work: Coroutine[Any, Any, T], heard: list[int]) -> T:
    loop, task = asyncio.get_running_loop(), asyncio.ensure_future(work)

    def interrupt(number: int) -> None:
        heard.append(number)
        task.cancel()

    handlers = _handlers()
    for number in handlers:
        loop.add_signal_handler(number, interrupt, number)
    try:
        return await task
    finally:
        for number, handler in handlers.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)


def _handlers() -> dict[int, Any]:
    """Of the signals that somebody in this process wants to hear; only the main thread may."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    return {number: handler for number in numbers if callable(handler := signal.getsignal(number))}
