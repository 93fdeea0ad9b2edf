"""One lifecycle, written once. A duty implements `run_once`; start, stop, back-off and logging live here.

A `Service` is one duty in a loop. `Signals` are named moments that tests wait for instead of sleeping.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable

import structlog

log = structlog.get_logger("fairgate.lifecycle")

# A failing duty tries again at once for a blip, and soon enough after an outage that nobody waits for the timer.
BACKOFF_FIRST_S, BACKOFF_MAX_S = 0.05, 2.0

STARTING = "starting"


class Signal:
    """A moment that has a name. `fire` costs an addition where nobody waits."""

    def __init__(self) -> None:
        self.count = 0
        self._changed = asyncio.Event()

    def fire(self, count: int = 1) -> None:
        self.count += count
        self._changed.set()

    @contextlib.asynccontextmanager
    async def expect(self, count: int = 1, within_s: float = 30.0) -> AsyncIterator[None]:
        """Run the block, then wait until the signal fired `count` times since its start. Raises `TimeoutError`."""
        target = self.count + count
        yield
        async with asyncio.timeout(within_s):
            while self.count < target:
                self._changed.clear()
                await self._changed.wait()


class Signals(defaultdict[str, Signal]):
    """`service.signals["sent"].expect(3)`."""

    def __init__(self) -> None:
        super().__init__(Signal)


class Wake:
    """An event that is consumed by waiting. `set` may be called from the loop's own thread only."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def set(self) -> None:
        self._event.set()

    async def wait(self, within_s: float) -> bool:
        """True when woken, False when the time was up."""
        try:
            async with asyncio.timeout(within_s):
                await self._event.wait()
        except TimeoutError:
            return False
        finally:
            self._event.clear()
        return True


class Service:
    """One duty. `run_once` does a bounded piece of it and says whether there may be more at once.

    Between empty rounds it sleeps until `wake` is set, at most `idle_s`. An exception is logged and tried again with
    back-off: a duty ends only by `stop`. `failing` says why the last round failed; None when it went well (readiness).
    """

    name = "service"
    idle_s = 1.0

    def __init__(self) -> None:
        self.signals = Signals()
        self.wake = Wake()
        self.failing: str | None = STARTING
        self._task: asyncio.Task[None] | None = None
        self._stopping = False

    async def setup(self) -> None:
        """Before the first round; retried like a round."""

    async def run_once(self) -> bool:
        raise NotImplementedError

    async def teardown(self) -> None:
        """After the last round, also when setup failed half-way."""

    @property
    def stopping(self) -> bool:
        return self._stopping

    async def start(self) -> None:
        assert self._task is None, f"{self.name} was started twice"
        self._task = asyncio.create_task(self._run(), name=self.name)

    async def stop(self, within_s: float = 10.0) -> None:
        """Let the round in hand finish (bounded), then tear down."""
        self._stopping = True
        self.wake.set()
        if self._task is None:
            return
        _, pending = await asyncio.wait([self._task], timeout=within_s)
        for task in pending:
            log.warning("stopped by force", service=self.name, after_s=within_s)
            task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._task = None

    async def _run(self) -> None:
        try:
            if await self._retrying(self.setup):
                while not self._stopping:
                    await self._retrying(self._round)
        finally:
            await self._safely(self.teardown)

    async def _round(self) -> None:
        more = await self.run_once()
        self.goes_well()
        if not more and not self._stopping:
            await self.wake.wait(self.idle_s)

    async def _retrying(self, step: Callable[[], Awaitable[None]]) -> bool:
        delay_s = BACKOFF_FIRST_S
        while not self._stopping:
            try:
                await step()
            except Exception as error:
                self._note_failure(error)
                await asyncio.sleep(delay_s * random.uniform(0.5, 1.0))
                delay_s = min(delay_s * 2, BACKOFF_MAX_S)
            else:
                return True
        return False

    def _note_failure(self, error: Exception) -> None:
        if self.failing is None or self.failing == STARTING:
            log.warning("failing, will try again", service=self.name, error=repr(error))
            log.debug("where it failed", service=self.name, exc_info=error)
        self.failing = f"{type(error).__name__}: {error}"

    def goes_well(self) -> None:
        """After each round; a round that lasts may say so earlier."""
        if self.failing not in (None, STARTING):
            log.info("works again", service=self.name)
        self.failing = None

    async def _safely(self, step: Callable[[], Awaitable[None]]) -> None:
        try:
            await step()
        except Exception as error:
            log.warning("teardown failed", service=self.name, error=repr(error))


async def stop_in_order(services: list[Service]) -> None:
    """Stop from the source: intake ends first, the rest drains. `services` is upstream first."""
    for service in services:
        await service.stop()
