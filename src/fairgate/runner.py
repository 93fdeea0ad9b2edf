"""One process of one role: starts its services, answers for its health, stops in order on SIGTERM or Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import sys
from collections.abc import Mapping

import structlog
import uvloop

from fairgate import failpoints, telemetry
from fairgate.config import Config
from fairgate.http.ops import OpsServer
from fairgate.lifecycle import Service, stop_in_order
from fairgate.links import Links
from fairgate.logs import set_up_logs
from fairgate.stores.leases import Slot
from fairgate.wiring import ROLES

log = structlog.get_logger("fairgate.run")

# Objects that may come before the young ones are looked through, and how often that happens before older ones are. The
# oldest have to be looked at as often as by Python's own (700, 10, 10): sockets leave cycles behind that live long.
YOUNG_MIDDLE_OLD = (20_000, 2, 2)

# How often a process looks whether its slot is still its own.
SLOT_CHECK_S = 1.0


def run_role(role: str, config: Config) -> None:
    """Blocks until SIGTERM or SIGINT. Exit status 1 where the slot was lost: the supervisor starts us anew."""
    set_up_logs(config.log_format, config.log_level, role=role)
    failpoints.arm(os.environ)
    lost_its_slot = uvloop.run(_run(role, config))
    if lost_its_slot:
        sys.exit(1)


def _settle_memory() -> None:
    """What is there by now stays: no collection looks at it again. A batch of ten thousand records makes a hundred
    thousand objects that are gone a moment later: looking for garbage among them took up to half of the time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*YOUNG_MIDDLE_OLD)


async def _run(role: str, config: Config) -> bool:
    links = Links(config, role)
    services: list[Service] = []

    def ready() -> Mapping[str, str | None]:
        return {service.name: service.failing for service in services}

    services += ROLES[role](links, ready)
    ops = OpsServer(host=config.host, port=config.ops_port_of(role), ready=ready)
    telemetry.watch(services)
    ending = _ending()
    started: list[Service] = []
    try:
        await ops.start()
        for service in reversed(services):
            started.insert(0, service)
            await service.start()
        _settle_memory()
        log.info("started", role=role, ops_port=ops.port)
        return await _until_the_end(ending, services)
    finally:
        await stop_in_order(started)
        await ops.stop()
        await links.close()
        log.info("stopped", role=role)


def _ending() -> asyncio.Event:
    ending, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ending.set)
    return ending


async def _until_the_end(ending: asyncio.Event, services: list[Service]) -> bool:
    """True when the slot is somebody else's: two processes of one name must not go on."""
    slots = [service for service in services if isinstance(service, Slot)]
    while not ending.is_set():
        if any(slot.lost for slot in slots):
            return True
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ending.wait(), SLOT_CHECK_S)
    return False
