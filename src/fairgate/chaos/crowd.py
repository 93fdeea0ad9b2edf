"""The load: five events, one with most of the crowd, arrivals fixed beforehand (an open loop), real clients.

A slow site does not slow the arrivals: who cannot get in asks again, and others come meanwhile. All are bounded in
number and in time. Most fans look seldom and go when they know their end; some wait to be told; some hundred listen all
the time and lose the network at random. So one process carries the whole crowd.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from fairgate.checker.history import Call, History
from fairgate.checker.places import signs
from fairgate.config import Config
from fairgate.crowd.fan import Fan
from fairgate.crowd.http import Http
from fairgate.crowd.listener import Listener
from fairgate.crowd.site import Answer, Site, sockets
from fairgate.crowd.traits import Habits, Traits
from fairgate.errors import Unavailable

EVENTS, HOT_SHARE = 5, 0.8
LEAVES, REGRETS, TWICE = 0.10, 0.5, 0.05
# Who waits to be told: by the inbox, and by the socket besides those who listen all the time.
STAYS, LISTENS = 0.04, 0.01
LINGERING = 240
CONNECTIONS = 192
EVENT_KNOWN_S, GOING_S = 60.0, 10.0
# Admissions above arrivals by so much: a line that formed while something was broken is gone soon afterwards.
PACE = 1.8
SOLD_OUT_AFTER_S = 20.0

CALM = Habits(
    look_min_s=4.0, look_max_s=60.0, look_listening_s=30.0, soon_s=2.0, soon_max_s=20.0, leave_after_s=(0.0, 1.5),
    reconnect_s=(10.0, 60.0),
)  # fmt: skip


class Line(msgspec.Struct, frozen=True):
    """One event as it is opened. `share` of the crowd comes to it."""

    event_id: str
    share: float
    rate: float
    burst: int
    capacity: int


def lines(name: str, joins_per_s: float, fans: int) -> list[Line]:
    """One with most of the crowd, some smaller, the last of them sold out soon; the others have room for all `fans`."""
    small = (1 - HOT_SHARE) / (EVENTS - 1)
    made = [_line(f"{name}-1", HOT_SHARE, joins_per_s, fans)]
    made += [_line(f"{name}-{number}", small, joins_per_s, fans) for number in range(2, EVENTS + 1)]
    few = max(1, round(small * joins_per_s * SOLD_OUT_AFTER_S))
    return [*made[:-1], msgspec.structs.replace(made[-1], capacity=few)]


def _line(event_id: str, share: float, joins_per_s: float, capacity: int) -> Line:
    rate = round(max(1.0, share * joins_per_s * PACE), 1)
    return Line(event_id, share, rate, max(1, round(rate / 10)), capacity)


class Arrival(msgspec.Struct, frozen=True):
    at_s: float
    event: int
    traits: Traits


def arrivals(joins_per_s: float, seed: int, fans: int) -> Iterator[Arrival]:
    """Who comes when and what they are like: the same seed, the same crowd. Times ascend, spread like in a queue."""
    chance, at_s = random.Random(seed), 0.0
    small = (1 - HOT_SHARE) / (EVENTS - 1)
    for number in range(fans):
        at_s += chance.expovariate(joins_per_s)
        event = (
            0 if chance.random() < HOT_SHARE else 1 + min(EVENTS - 2, int(chance.random() * (1 - HOT_SHARE) / small))
        )
        yield Arrival(at_s, event, _traits(chance, lingers=number % 4 == 0 and number < 4 * LINGERING))


def _traits(chance: random.Random, *, lingers: bool) -> Traits:
    leaves = chance.random() < LEAVES
    regrets = chance.random() < REGRETS
    listens = lingers or chance.random() < LISTENS
    stays = listens or chance.random() < STAYS
    return Traits(
        listens=listens,
        joins_twice=chance.random() < TWICE,
        leaves=leaves and not lingers,
        reconnects=listens,
        stays=stays and (regrets or not leaves or lingers),
        regrets=regrets,
        lingers=lingers,
        habits=CALM,
    )


class Tally(msgspec.Struct):
    """What the crowd as a whole has seen so far."""

    joins: int = 0
    told: int = 0


class Chaotic(Fan):
    """A fan whose steps are counted as they happen."""

    def __init__(self, tally: Tally, *given: Any) -> None:
        super().__init__(*given)
        self._tally = tally

    def _note(self, call: Call, answer: Answer) -> None:
        super()._note(call, answer)
        self._tally.joins += call.what == "join"

    def _hear(self, payload: dict[str, Any], via: str) -> None:
        super()._hear(payload, via)
        self._tally.told += 1


class Crowd:
    """`open`, then `come` as a task until `stop`; `hurry`, `gone`, `see_out`; `close`."""

    def __init__(self, config: Config, lines: list[Line], joins_per_s: float, seed: int, fans: int) -> None:
        self._config, self.lines, self.joins_per_s, self._seed, self._most = config, lines, joins_per_s, seed, fans
        self.fans: list[Chaotic] = []
        self.tally = Tally()
        self._living: set[asyncio.Task[None]] = set()
        self._failed: list[BaseException] = []
        self._stopped = asyncio.Event()
        self.opened = False

    @property
    def histories(self) -> list[History]:
        return [fan.history for fan in self.fans]

    @property
    def living(self) -> int:
        return len(self._living)

    @property
    def event_ids(self) -> list[str]:
        return [line.event_id for line in self.lines]

    async def open(self) -> None:
        """The events, by the operator. Returns when fans can see them. Raises `Unavailable`."""
        config = self._config
        self._http = Http(f"http://{config.host}:{config.ports.api}", CONNECTIONS)
        self._sockets = sockets()
        self.site = Site(self._http)
        self.opened = True
        self._live = config.live_url or f"http://{config.host}:{config.ports.live}"
        try:
            async with asyncio.timeout(EVENT_KNOWN_S):
                await asyncio.gather(*(self._open(line) for line in self.lines))
        except TimeoutError:
            raise Unavailable(f"the events were not open {EVENT_KNOWN_S:.0f} s after they were created") from None
        self.site.trouble.clear()

    async def _open(self, line: Line) -> None:
        assert self._config.operator_token is not None
        await self.site.post("/admin/events", _order(line), self._config.operator_token.get_secret_value())
        await self.site.get(f"/queue/{line.event_id}")

    async def come(self) -> None:
        """Until `stop`, or until all have come. Each at its time, however the others fare."""
        began = time.monotonic()
        for arrival in arrivals(self.joins_per_s, self._seed, self._most):
            await asyncio.sleep(max(0.0, began + arrival.at_s - time.monotonic()))
            if self._stopped.is_set():
                return
            self._welcome(arrival)

    def stop(self) -> None:
        """Nobody comes any more; who is here goes on."""
        self._stopped.set()

    def _welcome(self, arrival: Arrival) -> None:
        event_id = self.lines[arrival.event].event_id

        def connect(token: str, hear: Callable[[dict[str, Any]], None]) -> Listener:
            return Listener(self._live, token, event_id, self._sockets, hear)

        fan = Chaotic(self.tally, arrival.traits, self.site, event_id, connect)
        self.fans.append(fan)
        task = asyncio.create_task(fan.live())
        self._living.add(task)
        task.add_done_callback(self._gone)

    def _gone(self, task: asyncio.Task[None]) -> None:
        self._living.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._failed.append(task.exception() or AssertionError())

    async def hurry(self) -> None:
        """All who are left look now, a few at a time, and who only lingers goes."""
        for number, fan in enumerate(self.fans):
            if fan.history.done or fan.history.quit or fan.history.refused:
                fan.send_home()
                continue
            fan.look()
            if number % 64 == 0:
                await asyncio.sleep(0.01)
        for fan in self.fans:
            fan.send_home()

    async def gone(self, within_s: float) -> None:
        """Until all are gone, or the time is up."""
        if self._living:
            await asyncio.wait(set(self._living), timeout=within_s)

    def waiting(self, most: int) -> list[str]:
        """Of who is still here the first few, with their last signs, and how many there are."""
        if not self._living:
            return []
        here = [fan for fan in self.fans if not (fan.history.done or fan.history.quit or fan.history.refused)]
        named = [f"{fan.history.user_id} of {fan.history.event_id}: {signs(fan.history)}" for fan in here[:most]]
        return [f"{len(self._living)} people, {len(here)} of them not done", *named]

    async def see_out(self) -> None:
        """Who is still here is sent away, which its history shows. A mistake of the crowd's own raises."""
        await self._send_away()
        if self._failed:
            raise self._failed[0]  # must not look like a fan that gave up

    async def _send_away(self) -> None:
        left = list(self._living)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def close(self) -> None:
        self.stop()
        await self._send_away()
        if self.opened:
            self._http.close()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(GOING_S):
                    await self._sockets.close()


def _order(line: Line) -> dict[str, Any]:
    return {
        "eventId": line.event_id, "title": "Rehearsal of a fault", "state": "open",
        "rate": line.rate, "burst": line.burst, "capacity": line.capacity,
    }  # fmt: skip
