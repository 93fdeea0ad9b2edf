"""One rehearsal from nothing to the verdict: a stack of its own, an event, the crowd, quiet, the books, the judges."""

from __future__ import annotations

import asyncio
import resource
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from fairgate.checker import books
from fairgate.checker.run import Run
from fairgate.config import Config
from fairgate.crowd.fan import Fan
from fairgate.crowd.http import Http
from fairgate.crowd.listener import Listener
from fairgate.crowd.site import Site, sockets
from fairgate.demo import crowd, interrupted, patience
from fairgate.demo.gauge import Figures, Gauge
from fairgate.demo.options import Options, Plan, plan
from fairgate.demo.verdict import Crowd, Verdict, judge
from fairgate.errors import Unavailable
from fairgate.local.ports import PortTaken, free_base
from fairgate.local.servers import Step
from fairgate.local.supervisor import Stack

# One address makes all sessions here, at the speed of a whole town.
GUESTS_PER_MINUTE = 1_000_000
CONNECTIONS = 256
EVENT_KNOWN_S = 30.0
# After the last fan: what is still on its way (a repeat, an acknowledgement) arrives, or never will.
QUIET_S = 30.0

OnReady = Callable[[Stack], None]


class Show(Protocol):
    """Who watches. Called from the rehearsal's loop; returns at once."""

    def step(self, step: Step) -> None: ...
    def say(self, text: str) -> None: ...
    def figures(self, figures: Figures, plan: Plan) -> None: ...


class Silent:
    def step(self, step: Step) -> None:
        pass

    def say(self, text: str) -> None:
        pass

    def figures(self, figures: Figures, plan: Plan) -> None:
        pass


def run_demo(
    options: Options,
    on_ready: OnReady | None = None,
    *,
    show: Show | None = None,
    at_end: Callable[[Stack, Verdict], None] | None = None,
) -> Verdict:
    """Blocks for the whole rehearsal and leaves nothing running.

    `on_ready(stack)` is called when the first fan is about to come: who wants to disturb starts a thread there.
    `at_end(stack, verdict)` is called while the stack still runs. Raises `ConfigError` when the stack cannot start and
    `Unavailable` when the books cannot be read.
    """
    show = show or Silent()
    with _data_dir(options) as directory:
        stack = _started(options, directory, show)
        try:
            planned = plan(options, f"demo-{secrets.token_hex(4)}")
            verdict = interrupted.run(_rehearse(stack, planned, on_ready, show))
            if at_end is not None:
                at_end(stack, verdict)
        finally:
            stack.stop()
    return verdict


@contextmanager
def _data_dir(options: Options) -> Iterator[Path]:
    """The caller's, or one that is gone afterwards; kept with `keep`, where somebody may still want to look."""
    if options.data_dir is not None:
        yield options.data_dir
        return
    directory = Path(tempfile.mkdtemp(prefix="fairgate-demo-"))
    try:
        yield directory / "data"
    finally:
        if not options.keep:
            shutil.rmtree(directory, ignore_errors=True)


def _started(options: Options, directory: Path, show: Show) -> Stack:
    """On free ports, unless the caller named them. Another program may take one meanwhile: then others are tried."""
    for tries_left in (2, 1, 0):
        base = options.port_base or free_base()
        stack = Stack(
            Config(
                data_dir=directory,
                port_base=base,
                brokers=options.brokers,
                guest_rate_per_minute=GUESTS_PER_MINUTE,
            )
        )
        try:
            stack.start(show.step)
        except PortTaken:
            if options.port_base is not None or not tries_left:
                raise
        else:
            return stack
    raise AssertionError("the last try raises")


async def _rehearse(stack: Stack, plan: Plan, on_ready: OnReady | None, show: Show) -> Verdict:
    config = stack.config
    base = f"http://{config.host}:{config.ports.api}"
    async with Http(base, CONNECTIONS) as http, sockets() as live:
        site = Site(http)
        await _open_event(site, config, plan)
        show.say(f"  event {plan.event_id}: {plan.capacity} tickets, {plan.rate:g} a second")
        fans = _fans(plan, site, config, lambda url, token, hear: Listener(url, token, plan.event_id, live, hear))
        if on_ready is not None:
            on_ready(stack)
        began, cpu = time.monotonic(), _cpu_s()
        gauge = Gauge(config, plan, [fan.history for fan in fans])
        watching = asyncio.create_task(gauge.watch(lambda figures: show.figures(figures, plan)))
        wondering = asyncio.create_task(patience.watch(fans, patience.inbox_of(config, plan.event_id), show.say))
        try:
            await _let_them_come(fans, plan)
            if watching.done():
                watching.result()
            wondering.cancel()
            took_s, cpu_s = time.monotonic() - began, _cpu_s() - cpu
            show.say("  all fans are done; reading SQL and Kafka from the beginning")
            await _quiet(gauge)
            found = await books.read(config, [plan.event_id])
        finally:
            watching.cancel()
            wondering.cancel()
            await asyncio.gather(watching, wondering, return_exceptions=True)
            await gauge.close()
    seen = Crowd(took_s=round(took_s, 1), requests=site.requests, trouble=dict(site.trouble), cpu_s=round(cpu_s, 1))
    return judge(plan, Run(histories=[fan.history for fan in fans], books=found), seen)


async def _open_event(site: Site, config: Config, plan: Plan) -> None:
    """Created by the operator; returns when fans can see it. Raises `Unavailable`."""
    assert config.operator_token is not None
    line = {
        "eventId": plan.event_id,
        "title": "Rehearsal",
        "state": "open",
        "rate": plan.rate,
        "burst": plan.burst,
        "capacity": plan.capacity,
    }
    try:
        async with asyncio.timeout(EVENT_KNOWN_S):
            await site.post("/admin/events", line, config.operator_token.get_secret_value())
            await site.get(f"/queue/{plan.event_id}")
    except TimeoutError:
        raise Unavailable(f"the event was not open {EVENT_KNOWN_S:.0f} s after it was created") from None
    site.trouble.clear()  # that was not the crowd's


Connect = Callable[[str, str, Callable[[dict[str, object]], None]], Listener]


def _fans(plan: Plan, site: Site, config: Config, connect: Connect) -> list[Fan]:
    url = config.live_url or f"http://{config.host}:{config.ports.live}"
    return [
        Fan(traits, site, plan.event_id, lambda token, hear: connect(url, token, hear))
        for traits in crowd.traits(plan.fans, plan.listeners, plan.seed)
    ]


async def _let_them_come(fans: list[Fan], plan: Plan) -> None:
    """Each at its time; returns when all are done, or when the patience with the last ones ends."""
    began, living = time.monotonic(), []
    try:
        for fan, at_s in zip(fans, crowd.arrivals(crowd.rush(), plan.fans, plan.seconds), strict=True):
            await asyncio.sleep(max(0.0, began + at_s - time.monotonic()))
            living.append(asyncio.create_task(fan.live()))
        done, _ = await asyncio.wait(living, timeout=max(0.0, began + plan.patience_s - time.monotonic()))
    finally:
        for task in living:
            task.cancel()
        await asyncio.gather(*living, return_exceptions=True)
    for task in done:
        task.result()  # a mistake of the rehearsal itself must not look like a fan who gave up


async def _quiet(gauge: Gauge) -> None:
    """Until nothing is on its way, bounded: what is missing then, the verdict will miss too."""
    deadline = time.monotonic() + QUIET_S
    while not (await gauge.look()).quiet and time.monotonic() < deadline:  # noqa: ASYNC110 - others' work: nobody calls
        await asyncio.sleep(0.2)


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
