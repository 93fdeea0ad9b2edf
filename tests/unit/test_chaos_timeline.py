"""The clock of a run: what it keeps, and what it says of a promise that was not kept."""

from __future__ import annotations

import pytest

from fairgate.chaos.samples import Sample
from fairgate.chaos.timeline import Bound, NotInTime, Timeline
from fairgate.errors import Unavailable


def timeline(*samples: Sample) -> Timeline:
    return Timeline(quick=True, seed=1, samples=list(samples))


async def test_a_fault_ends_also_when_what_it_holds_fails() -> None:
    made = timeline()
    with pytest.raises(Unavailable):
        async with made.fault("a broker killed"):
            assert made.faults[0].ended_s is None
            raise Unavailable("gone")
    assert made.faults[0].ended_s is not None and made.faults[0].ended_s >= made.faults[0].began_s


async def test_what_does_not_come_in_time_is_a_broken_bound() -> None:
    made = timeline()

    async def never() -> bool:
        return False

    with pytest.raises(NotInTime):
        await made.until(never, 0.01, "it comes")
    assert made.bounds == [Bound("it comes", None, 0.01)]
    assert not made.bounds[0].kept


async def test_a_condition_that_cannot_be_asked_does_not_hold_yet() -> None:
    made, asked = timeline(), []
    made.LOOK_EVERY_S = 0.0  # type: ignore[misc]

    async def at_last() -> bool:
        asked.append(1)
        if len(asked) < 3:
            raise Unavailable("not now")
        return True

    await made.until(at_last, 30.0, "it answers")
    assert len(asked) == 3 and made.bounds == []


async def test_settled_means_that_all_who_were_admitted_then_have_their_tickets() -> None:
    made = timeline(Sample(at_s=0, admitted=10, issued=4, unsent=0, outbox_age_s=0.0))
    with pytest.raises(NotInTime):
        await made.settled(0.05)
    made.samples.append(Sample(at_s=1, admitted=15, issued=15, unsent=0, outbox_age_s=0.0))
    assert await made.settled(30.0) >= 0.0


async def test_an_old_row_in_the_outbox_is_not_settled() -> None:
    made = timeline(Sample(at_s=0, admitted=10, issued=10, unsent=3, outbox_age_s=60.0))
    with pytest.raises(NotInTime):
        await made.settled(0.05)


@pytest.mark.parametrize(("value", "kept"), [(3.0, True), (3.1, False), (None, False)])
def test_a_bound_is_kept_up_to_its_limit_and_never_without_a_value(value: float | None, kept: bool) -> None:
    assert Bound("stall", value, 3.0).kept is kept
