"""What a scenario is, and what it may ask of the timeline that it is played on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Literal, Protocol

import msgspec

from fairgate.chaos.settings import SiteSettings
from fairgate.chaos.site import Site

__all__ = ["Progress", "Scenario", "Site", "SiteSettings", "Timeline"]

# What must go on: joins that were answered, admissions and tickets in SQL, tickets that the broker acknowledged.
Progress = Literal["joins", "admitted", "issued", "acknowledged"]


class Timeline(Protocol):
    """The clock of a run. Times are `time.monotonic()`; `quick`: the short version; `seed` decides what is drawn."""

    quick: bool
    seed: int

    def fault(self, title: str) -> AbstractAsyncContextManager[None]:
        """A window in which something is broken; drawn in the report."""

    def note(self, title: str) -> None:
        """A moment worth a line in the report."""

    def bound(self, name: str, value: float | None, limit: float, unit: str = "s") -> None:
        """A promise with its measured value; None: it could not be measured, which counts as broken."""

    async def until(self, condition: Callable[[], Awaitable[bool]], within_s: float, what: str) -> float:
        """Wait for it; → the seconds it took. Recorded as broken when the time is up, and raises then."""

    def longest_stall_s(self, what: Progress, since: float) -> float:
        """The longest time without a new one since then, as of the samples."""

    async def settled(self, within_s: float) -> float:
        """Wait until nothing is on its way; → the seconds it took."""


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """`run` breaks and heals and states every bound of its risk; what it leaves broken, `Site.heal` heals.

    `needs_disks`: without small file systems it is not run; the others take what there is.
    `longest_s` bounds the crowd: after that nobody comes, and the rest would prove nothing.
    `turn`: when it plays among those of its site; the same for most, which then keep their order.
    """

    risk: str
    title: str
    about: str
    settings: SiteSettings
    run: Callable[[Site, Timeline], Awaitable[None]]
    longest_s: float = 1_500.0
    needs_disks: bool = False
    turn: int = 0
