"""One scenario from the first fan to the verdict: crowd, warm-up, the breaking, heal, quiet, books, judge."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable

import msgspec

from fairgate.chaos.crowd import Crowd, lines
from fairgate.chaos.results import Result
from fairgate.chaos.samples import Sample
from fairgate.chaos.scenario import Progress, Scenario
from fairgate.chaos.site import Site
from fairgate.chaos.timeline import NotInTime, Timeline
from fairgate.chaos.watch import Watch
from fairgate.checker import books
from fairgate.checker.run import Pace, Run
from fairgate.checker.verdict import judge
from fairgate.errors import FairgateError, Unavailable

WARM_UP_S, WARM_UP_QUICK_S = 8.0, 5.0
# Of the acceptance list none is longer; a slow machine is not accused for its slowness but where a scenario says so.
RECOVERY_S, DRAIN_S = 180.0, 300.0
# After the line is empty: everybody looks, is told, acknowledges.
GOING_S, LOOK_AGAIN_S = 120.0, 5.0
# Of those who have not gone by then, so many are named.
NAMED = 3
STALLS: tuple[Progress, ...] = ("joins", "admitted", "issued", "acknowledged")


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """`quick` shortens the faults, never the load."""

    joins_per_s: float
    seed: int
    quick: bool


class Played(msgspec.Struct):
    """`run` is what was judged; None where it could not be read. `sound`: the site may be used again."""

    result: Result
    run: Run | None
    sound: bool


class Play:
    """`played` once."""

    def __init__(self, scenario: Scenario, site: Site, load: Load, say: Callable[[str], None]) -> None:
        self._scenario, self._site, self._load = scenario, site, load
        self._samples: list[Sample] = []
        self._timeline = Timeline(quick=load.quick, seed=load.seed, samples=self._samples, say=say)
        name = f"chaos-{scenario.risk.lower()}-{secrets.token_hex(3)}"
        fans = round(load.joins_per_s * scenario.longest_s)
        self._crowd = Crowd(site.config, lines(name, load.joins_per_s, fans), load.joins_per_s, load.seed, fans)
        self._watch = Watch(site, self._crowd, self._samples, self._timeline.began)
        self._result = Result(
            risk=scenario.risk,
            title=scenario.title,
            about=scenario.about,
            seed=load.seed,
            joins_per_s=load.joins_per_s,
        )
        self._run: Run | None = None
        self._sound = False

    async def played(self) -> Played:
        """What goes wrong is in the result; only a mistake of our own raises."""
        try:
            await self._crowd.open()
            await self._with_a_crowd()
        except (FairgateError, OSError) as error:
            self._trouble(error)
        finally:
            await self._crowd.close()
        self._keep()
        return Played(self._result, self._run, self._sound)

    async def _with_a_crowd(self) -> None:
        watching, coming = asyncio.create_task(self._watch.run()), asyncio.create_task(self._crowd.come())
        try:
            await asyncio.sleep(WARM_UP_QUICK_S if self._load.quick else WARM_UP_S)
            await self._break()
            healed_at = await self._heal()
            if coming.done():
                self._trouble(
                    Unavailable(f"all {len(self._crowd.fans)} fans had come before the end: nobody was tried")
                )
            self._crowd.stop()
            await self._grow_quiet()
            await self._judge(healed_at)
            if watching.done():
                watching.result()
        finally:
            for task in (watching, coming):
                task.cancel()
            await asyncio.gather(watching, coming, return_exceptions=True)
            await self._watch.close()

    async def _break(self) -> None:
        began = time.monotonic()
        try:
            await self._scenario.run(self._site, self._timeline)
        except NotInTime:
            pass  # noted as a broken bound
        except (FairgateError, OSError) as error:
            self._trouble(error)
        self._result.stalls_s = {what: round(self._timeline.longest_stall_s(what, began), 2) for what in STALLS}

    async def _heal(self) -> float:
        """→ when all was whole again, in epoch seconds."""
        await self._site.heal()
        healed_at = time.time()
        self._timeline.note("all is whole again")
        with contextlib.suppress(NotInTime):
            self._result.recovery_s = round(await self._timeline.settled(RECOVERY_S), 2)
        return healed_at

    async def _grow_quiet(self) -> None:
        """The line empties, everybody learns the end and goes. What does not, the judge will see."""
        self._timeline.note("nobody comes any more")
        with contextlib.suppress(NotInTime):
            await self._timeline.until(self._drained, DRAIN_S, "the lines are empty and everything is sent")
            self._timeline.note("the lines are empty, everything is sent")
        deadline = time.monotonic() + GOING_S
        while self._crowd.living and time.monotonic() < deadline:
            await self._crowd.hurry()
            await self._crowd.gone(LOOK_AGAIN_S)
        for words in self._crowd.waiting(NAMED):
            self._timeline.note(f"still here: {words}")
        await self._crowd.see_out()
        self._timeline.note("everybody has gone")

    async def _drained(self) -> bool:
        latest = self._samples[-1]
        return latest.line == 0 and latest.unsent == 0 and latest.lag == 0 and latest.admitted == latest.issued

    async def _judge(self, healed_at: float) -> None:
        found = await books.read(self._site.observer, self._crowd.event_ids)
        self._run = Run(
            histories=self._crowd.histories,
            books=found,
            paces={line.event_id: Pace(line.rate, line.burst) for line in self._crowd.lines},
            recoveries=self._watch.recoveries,
            healed_at=healed_at,
        )
        self._result.verdict = await asyncio.to_thread(judge, self._run)
        self._sound = True

    def _trouble(self, error: Exception) -> None:
        self._result.trouble.append(f"{type(error).__name__}: {error}")
        self._timeline.note(f"trouble: {error}")

    def _keep(self) -> None:
        result, timeline = self._result, self._timeline
        result.took_s = round(timeline.now_s, 1)
        result.bounds, result.faults, result.notes = timeline.bounds, timeline.faults, timeline.notes
        result.samples, result.further = self._samples, timeline.further
        result.met = dict(self._crowd.site.trouble) if self._crowd.opened else {}
