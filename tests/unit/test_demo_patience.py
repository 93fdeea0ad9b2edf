"""Whom the rehearsal waits for, and why."""

from __future__ import annotations

from typing import Any, cast

from fairgate.checker.history import Call, Told
from fairgate.crowd.fan import Fan
from fairgate.crowd.site import Site
from fairgate.crowd.traits import Traits
from fairgate.demo.patience import NAMED, still_waiting


def fan(name: str, *, done: bool = False) -> Fan:
    made = Fan(Traits(listens=True), cast(Site, None), "e", cast(Any, None))
    made.history.user_id, made.history.arrived_at, made.history.done = name, 1.0, done
    made.history.calls.append(Call("position", 2.0, 0, 3.0, "issued", 7))
    return made


async def inbox(user_id: str) -> str:
    return f"that of {user_id}"


async def test_who_is_waited_for_is_named_with_the_last_signs() -> None:
    fans = [fan("a", done=True), fan("b"), fan("c")]
    fans[1].history.end = "confirmed"
    fans[2].history.told.append(Told("issued:t", "ticket:issued", 4.0, "socket"))
    first, second = await still_waiting(fans, inbox)
    assert "b: knows confirmed, listens by its socket" in first and "heard nothing" in first
    assert "last asked (position) at 2.0: issued at 3.0" in first and "that of b" in first
    assert "c: knows no end" in second and "heard ticket:issued at 4.0" in second


async def test_of_many_a_few_are_named() -> None:
    lines = await still_waiting([fan(f"u{n}") for n in range(10)], inbox)
    assert len(lines) == NAMED + 1
    assert str(10 - NAMED) in lines[-1]
