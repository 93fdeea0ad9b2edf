"""A duty starts, fails, recovers and stops as the base class promises."""

from __future__ import annotations

import asyncio

import pytest

from fairgate.lifecycle import Service, Signal, stop_in_order


class Duty(Service):
    idle_s = 60.0

    def __init__(self, failures: int = 0, log: list[str] | None = None, name: str = "duty") -> None:
        super().__init__()
        self.name = name
        self.failures, self.log = failures, log if log is not None else []

    async def run_once(self) -> bool:
        self.log.append(f"{self.name} ran")
        self.signals["ran"].fire()
        if self.failures:
            self.failures -= 1
            raise OSError("not yet")
        return False

    async def teardown(self) -> None:
        self.log.append(f"{self.name} torn down")


async def test_a_duty_that_fails_is_tried_again_and_then_well() -> None:
    duty = Duty(failures=3)
    assert duty.failing is not None
    async with duty.signals["ran"].expect(4):
        await duty.start()
    await asyncio.sleep(0)
    assert duty.failing is None
    await duty.stop()


async def test_a_sleeping_duty_wakes_when_it_is_told() -> None:
    duty = Duty()
    async with duty.signals["ran"].expect(1):
        await duty.start()
    async with duty.signals["ran"].expect(1, within_s=20):
        duty.wake.set()
    await duty.stop()


async def test_stopping_ends_a_sleeping_duty_at_once_and_tears_it_down() -> None:
    duty = Duty()
    async with duty.signals["ran"].expect(1):
        await duty.start()
    async with asyncio.timeout(20):
        await duty.stop()
    assert duty.log[-1] == "duty torn down"


async def test_a_stuck_round_is_ended_by_the_bound() -> None:
    class Stuck(Duty):
        async def run_once(self) -> bool:
            self.signals["ran"].fire()
            await asyncio.Event().wait()
            return False

    duty = Stuck()
    async with duty.signals["ran"].expect(1):
        await duty.start()
    async with asyncio.timeout(20):
        await duty.stop(within_s=0.05)
    assert duty.log == ["duty torn down"]


async def test_services_stop_from_the_source() -> None:
    log: list[str] = []
    services: list[Service] = [Duty(log=log, name="source"), Duty(log=log, name="sink")]
    for service in services:
        async with service.signals["ran"].expect(1):
            await service.start()
    await stop_in_order(services)
    assert log[-2:] == ["source torn down", "sink torn down"]


async def test_expecting_what_does_not_come_ends_with_the_bound() -> None:
    with pytest.raises(TimeoutError):
        async with Signal().expect(1, within_s=0.01):
            pass
