"""The clock of a run: what was broken when, what was promised and measured, and how long things stood still.

`scenario.Timeline` says what a scenario may ask; this is what answers. Times are `time.monotonic()` outside and seconds
from the start in what is kept.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import ClassVar

import msgspec

from fairgate.chaos.samples import Sample, longest_stall_s
from fairgate.chaos.scenario import Progress
from fairgate.errors import FairgateError, Unavailable

LOOK_EVERY_S = 0.2


class NotInTime(FairgateError):
    """What a scenario waited for did not come within its bound. The bound is noted as broken already."""

    kind = "not-in-time"


def clock(seconds: float) -> str:
    """Minutes and seconds."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


class Window(msgspec.Struct):
    """A fault. `ended_s` None: it had not ended when the run did."""

    title: str
    began_s: float
    ended_s: float | None = None


class Note(msgspec.Struct, frozen=True):
    title: str
    at_s: float


class Bound(msgspec.Struct, frozen=True):
    """A promise with its measured value; None: it could not be measured, which counts as broken."""

    name: str
    value: float | None
    limit: float
    unit: str = "s"

    @property
    def kept(self) -> bool:
        return self.value is not None and self.value <= self.limit

    @property
    def text(self) -> str:
        value = "not measured" if self.value is None else f"{self.value:.4g} {self.unit}"
        return f"{'✓' if self.kept else '✗'} {self.name}: {value} (≤ {self.limit:g} {self.unit})"


class Timeline:
    """Begins when it is made. `samples` are the watch's; `say` hears of everything as it happens.

    `further` series (name → seconds from the start, value) are drawn as well.
    """

    LOOK_EVERY_S: ClassVar[float] = LOOK_EVERY_S

    def __init__(
        self, *, quick: bool, seed: int, samples: list[Sample], say: Callable[[str], None] = lambda _: None
    ) -> None:
        self.quick, self.seed, self.samples, self._say = quick, seed, samples, say
        self.began = time.monotonic()
        self.faults: list[Window] = []
        self.notes: list[Note] = []
        self.bounds: list[Bound] = []
        self.further: dict[str, list[tuple[float, float]]] = {}

    @property
    def now_s(self) -> float:
        return time.monotonic() - self.began

    @asynccontextmanager
    async def fault(self, title: str) -> AsyncIterator[None]:
        """A window in which something is broken; drawn in the report."""
        window = Window(title, self.now_s)
        self.faults.append(window)
        self._tell(f"▸ {title}")
        try:
            yield
        finally:
            window.ended_s = self.now_s

    def note(self, title: str) -> None:
        self.notes.append(Note(title, self.now_s))
        self._tell(f"· {title}")

    def bound(self, name: str, value: float | None, limit: float, unit: str = "s") -> None:
        bound = Bound(name, value, limit, unit)
        self.bounds.append(bound)
        self._tell(bound.text)

    def _tell(self, text: str) -> None:
        self._say(f"  {clock(self.now_s):>6} {text}")

    async def until(self, condition: Callable[[], Awaitable[bool]], within_s: float, what: str) -> float:
        """Wait for it; → the seconds it took. Raises `NotInTime`, noted as a broken bound.

        A condition that cannot be asked just now (`Unavailable`) does not hold yet.
        """
        began = time.monotonic()
        try:
            async with asyncio.timeout(within_s):
                while not await _holds(condition):  # noqa: ASYNC110 - others' work: nobody calls
                    await asyncio.sleep(self.LOOK_EVERY_S)
        except TimeoutError:
            self.bound(what, None, within_s)
            raise NotInTime(f"not within {within_s:.0f} s: {what}") from None
        return time.monotonic() - began

    def longest_stall_s(self, what: Progress, since: float) -> float:
        """The longest time without a new one since then (`time.monotonic()`), as of the samples."""
        return longest_stall_s(self.samples, what, since - self.began)

    async def settled(self, within_s: float) -> float:
        """Wait until all that is on its way now has arrived, and nothing waits long; → the seconds it took."""
        target: int | None = None

        async def arrived() -> bool:
            nonlocal target
            latest = self.samples[-1] if self.samples else None
            if latest is None or latest.admitted is None or latest.issued is None or latest.unsent is None:
                return False
            if target is None:  # what comes after this moment is not waited for
                target = latest.admitted
            return latest.issued >= target and (latest.outbox_age_s or 0.0) < SETTLED_AGE_S

        return await self.until(arrived, within_s, "everybody admitted so far holds the ticket")


# In a flow that works a row is younger than this.
SETTLED_AGE_S = 2.0


async def _holds(condition: Callable[[], Awaitable[bool]]) -> bool:
    try:
        return await condition()
    except Unavailable:
        return False
