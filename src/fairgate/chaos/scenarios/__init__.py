"""One file per risk, named like it in the requirements; `ALL` is the order in which they run, `MIX` comes last."""

from __future__ import annotations

from fairgate.chaos.scenario import Scenario
from fairgate.chaos.scenarios import mix, r1, r2, r3, r4, r5, r6, r7, r8

ALL: tuple[Scenario, ...] = (
    *(r1.SCENARIO, r2.SCENARIO, r3.SCENARIO, r4.SCENARIO),
    *(r5.SCENARIO, r6.SCENARIO, r7.SCENARIO, r8.SCENARIO),
)
MIX: Scenario = mix.SCENARIO
