"""The nemesis: every 10 to 20 s a random subset of the faults, sometimes none, in an order that its seed repeats."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable, Iterator

import msgspec

from fairgate.chaos.measures import settle_time_s, whole_again_s
from fairgate.chaos.scenario import Scenario, Site, Timeline
from fairgate.chaos.scenarios.r5 import steal_leases
from fairgate.chaos.settings import PROXIED
from fairgate.errors import Unavailable

LASTS_S, LASTS_QUICK_S = 300.0, 60.0
APART_S = (10.0, 20.0)
AT_ONCE_MAX = 3
SETTLED_S, WHOLE_S = 120.0, 120.0

Act = Callable[[Site, random.Random], Awaitable[None]]


class Fault(msgspec.Struct, frozen=True):
    """`takes`: what it uses up; two faults that take the same never meet, so that enough of everything is left.

    `act` returns when the fault is over and what it broke is coming back.
    """

    title: str
    takes: str
    act: Act


def _any(site: Site, role: str, chance: random.Random) -> str:
    return chance.choice(site.names(role))


def _crash(role: str) -> Act:
    async def act(site: Site, chance: random.Random) -> None:
        site.crash(_any(site, role, chance))

    return act


def _freeze(role: str, seconds: float) -> Act:
    async def act(site: Site, chance: random.Random) -> None:
        name = _any(site, role, chance)
        site.freeze(name)
        await asyncio.sleep(seconds)
        site.thaw(name)

    return act


async def _broker_killed(site: Site, chance: random.Random) -> None:
    broker = _any(site, "kafka", chance)
    await site.kill(broker)
    await asyncio.sleep(chance.uniform(1.0, 5.0))
    site.child(broker).start()


async def _broker_terminated(site: Site, chance: random.Random) -> None:
    broker = _any(site, "kafka", chance)
    site.terminate(broker)
    await asyncio.to_thread(site.child(broker).wait, 10.0)
    site.child(broker).start()


async def _cut(site: Site, chance: random.Random) -> None:
    link = chance.choice(["", "-peer"])
    site.network.cut(_any(site, "kafka", chance) + link, chance.choice(["there", "back", "both"]))
    await asyncio.sleep(chance.uniform(3.0, 8.0))
    site.network.heal()


async def _delay(site: Site, chance: random.Random) -> None:
    site.network.delay(_any(site, "kafka", chance), chance.uniform(0.05, 0.3))
    await asyncio.sleep(chance.uniform(3.0, 8.0))
    site.network.heal()


async def _slow_sql(site: Site, chance: random.Random) -> None:
    site.network.delay("postgres", chance.uniform(0.05, 0.2))
    await asyncio.sleep(chance.uniform(3.0, 8.0))
    site.network.heal()


async def _valkey_killed(site: Site, chance: random.Random) -> None:
    site.crash("valkey")
    await site.wait_ready("valkey")


async def _postgres_ended(site: Site, chance: random.Random) -> None:
    site.crash("postgres", signal.SIGQUIT)
    await asyncio.sleep(1.0)
    await site.wait_ready("postgres")


async def _backend_killed(site: Site, chance: random.Random) -> None:
    await site.databases.kill_backend()


async def _leases_stolen(site: Site, chance: random.Random) -> None:
    await steal_leases(site, _any(site, "relay", chance))


MENU = (
    *(Fault(f"a process of {role} killed", role, _crash(role)) for role in ("admission", "relay", "ticketing")),
    *(Fault(f"a process of {role} killed", role, _crash(role)) for role in ("notification", "live", "api")),
    *(Fault(f"a process of {role} frozen for 8 s", role, _freeze(role, 8.0)) for role in ("admission", "relay")),
    Fault("a process of ticketing frozen for 8 s", "ticketing", _freeze("ticketing", 8.0)),
    Fault("a relay's leases taken away", "relay", _leases_stolen),
    Fault("a broker killed", "kafka", _broker_killed),
    Fault("a broker asked to end", "kafka", _broker_terminated),
    Fault("a broker frozen for 10 s", "kafka", _freeze("kafka", 10.0)),
    Fault("a link of a broker cut", "kafka", _cut),
    Fault("a broker's clients delayed", "kafka", _delay),
    Fault("SQL slowed", "postgres", _slow_sql),
    Fault("PostgreSQL ended at once", "postgres", _postgres_ended),
    Fault("one of PostgreSQL's processes killed", "postgres", _backend_killed),
    Fault("Valkey killed", "valkey", _valkey_killed),
)


def schedule(seed: int, lasts_s: float) -> Iterator[tuple[float, tuple[Fault, ...]]]:
    """(how long to wait before, what then happens at once). The same for the same seed."""
    chance, passed_s = random.Random(seed), 0.0
    while True:
        wait_s = chance.uniform(*APART_S) if passed_s else chance.uniform(1.0, 3.0)
        passed_s += wait_s
        if passed_s > lasts_s:
            return
        drawn = chance.sample(MENU, chance.randint(0, AT_ONCE_MAX))
        yield wait_s, tuple({fault.takes: fault for fault in drawn}.values())


async def run(site: Site, timeline: Timeline) -> None:
    chance = random.Random(timeline.seed)
    for wait_s, faults in schedule(timeline.seed, LASTS_QUICK_S if timeline.quick else LASTS_S):
        await asyncio.sleep(wait_s)
        if faults:
            async with timeline.fault("; ".join(fault.title for fault in faults)):
                await asyncio.gather(*(_act(fault, site, timeline, chance) for fault in faults))
    timeline.note(f"healed in {await site.heal():.1f} s")
    timeline.bound("settled after the mix", await settle_time_s(site, timeline, SETTLED_S), SETTLED_S)
    await whole_again_s(site, timeline, WHOLE_S)


async def _act(fault: Fault, site: Site, timeline: Timeline, chance: random.Random) -> None:
    """A fault that another one makes impossible (PostgreSQL is away already) is noted, and is no failure."""
    try:
        await fault.act(site, chance)
    except Unavailable as why:
        timeline.note(f"{fault.title}: not possible just now ({why})")


SCENARIO = Scenario(
    risk="mix",
    title="Nemesis mix",
    about="A seeded random subset of the faults every 10 to 20 seconds, also several at once.",
    settings=PROXIED,
    run=run,
)
