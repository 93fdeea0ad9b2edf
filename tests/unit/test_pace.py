"""How many may pass: properties that hold for all numbers."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairgate.admission.pace import Bound, Bounds, Load, Pace, Ramp, next_token_s, places_to_open, refilled
from fairgate.domain.line import LineState

counts = st.integers(0, 1_000_000)
tokens = st.floats(0, 1e6)
ages = st.floats(0, 1e4)
loads = st.builds(Load, unsettled=counts, lag=counts, lag_s=ages, outbox_age_s=ages)
ramps = st.builds(Ramp, st.floats(0, 1e4), st.floats(0.1, 1e4))
FREE = Load()
BOUNDS = Bounds(unsettled_max=20_000, lag=Ramp(1_000, 10_000), lag_s=Ramp(15, 120), outbox_age_s=Ramp(10, 30))


def pace(
    waiting: int, remaining: int | None, tokens: float, load: Load = FREE, state: LineState = LineState.OPEN
) -> Pace:
    return places_to_open(
        state=state,
        waiting=waiting,
        remaining=remaining,
        tokens=tokens,
        load=load,
        bounds=BOUNDS,
        batch_max=1_000_000,
    )


@given(counts, st.none() | counts, tokens, loads)
def test_no_bound_is_ever_passed(waiting: int, remaining: int | None, bucket: float, load: Load) -> None:
    places = pace(waiting, remaining, bucket, load).places
    assert 0 <= places <= waiting
    assert places <= bucket
    assert remaining is None or places <= remaining
    assert places <= max(0, BOUNDS.unsettled_max - load.unsettled)
    assert places == 0 or (load.outbox_age_s < 30 and load.lag < 10_000 and load.lag_s < 120)


@given(counts, st.none() | counts, tokens)
def test_something_decides_whenever_somebody_has_to_wait(waiting: int, remaining: int | None, bucket: float) -> None:
    decided = pace(waiting, remaining, bucket)
    assert (decided.places == waiting) == (decided.bound is Bound.NONE)


@given(st.sampled_from([LineState.SCHEDULED, LineState.PAUSED, LineState.CLOSED]), counts, tokens)
def test_only_an_open_line_admits(state: LineState, waiting: int, bucket: float) -> None:
    assert pace(waiting, None, bucket, state=state) == Pace(0, Bound.OPERATOR)


@given(counts, st.none() | counts, tokens, loads)
def test_a_slower_pipeline_never_admits_more(waiting: int, remaining: int | None, bucket: float, load: Load) -> None:
    slower = msgspec.structs.replace(load, unsettled=load.unsettled + 1)
    assert pace(waiting, remaining, bucket, slower).places <= pace(waiting, remaining, bucket, load).places


def test_sold_out_is_decided_by_the_capacity() -> None:
    assert pace(10, 0, 100.0) == Pace(0, Bound.CAPACITY)


@given(st.floats(-100, 1e6), st.floats(0.01, 1e6))
def test_after_the_wait_there_is_a_token(bucket: float, rate: float) -> None:
    assert bucket + rate * next_token_s(bucket, rate) >= 1 - 1e-6 * max(1.0, abs(bucket))


# ---- a pipeline that falls behind


@pytest.mark.parametrize(("lag", "share"), [(0, 1.0), (999, 1.0), (1_000, 1.0), (5_500, 0.5), (9_999, 1 / 9_000)])
def test_the_share_falls_in_a_line_between_the_two_bounds(lag: int, share: float) -> None:
    assert BOUNDS.slowed(Load(lag=lag))[0] == pytest.approx(share)


@given(ramps, st.floats(0, 2e4), st.floats(0, 2e4))
def test_more_lag_never_gives_a_greater_share(ramp: Ramp, some: float, more: float) -> None:
    low, high = sorted((some, more))
    assert 0.0 <= ramp.share(high) <= ramp.share(low) <= 1.0


@given(ramps, st.floats(0, 2e4))
def test_from_the_hold_on_nothing_passes_and_below_the_slowing_the_whole(ramp: Ramp, value: float) -> None:
    if value >= ramp.hold_from:
        assert ramp.share(value) == 0.0
    elif value < ramp.slow_from:
        assert ramp.share(value) == 1.0
    else:
        assert ramp.share(value) > 0.0


@given(counts, st.none() | counts, tokens, loads)
def test_what_keeps_who_waits_is_named(waiting: int, remaining: int | None, bucket: float, load: Load) -> None:
    decided, (share, slowing) = pace(waiting, remaining, bucket, load), BOUNDS.slowed(load)
    if share == 0.0:
        assert decided == Pace(0, slowing)
        assert slowing.slows
    if decided.bound in (Bound.LAG, Bound.OUTBOX):
        assert share < 1.0
    if decided.bound is Bound.RATE:
        assert share == 1.0


@pytest.mark.parametrize(
    ("load", "bound"),
    [
        (Load(lag=10_000), Bound.LAG),
        (Load(lag_s=120.0), Bound.LAG),
        (Load(outbox_age_s=30.0), Bound.OUTBOX),
        (Load(unsettled=20_000), Bound.PIPELINE),
    ],
)
def test_each_figure_of_the_pipeline_holds_the_line_by_itself(load: Load, bound: Bound) -> None:
    assert pace(10, None, 100.0, load) == Pace(0, bound)


shares = st.floats(0, 1)


@given(tokens, st.floats(0, 1e3), st.floats(0.01, 1e4), st.integers(1, 10_000), st.tuples(shares, shares))
def test_a_smaller_share_never_fills_the_bucket_further(
    bucket: float, elapsed_s: float, rate: float, burst: int, some: tuple[float, float]
) -> None:
    low, high = sorted(some)
    slower = refilled(bucket, elapsed_s, rate=rate, burst=burst, share=low)
    faster = refilled(bucket, elapsed_s, rate=rate, burst=burst, share=high)
    assert slower <= faster <= burst


@given(st.floats(0.01, 1e4), st.integers(1, 10_000), st.floats(0.01, 1))
def test_the_smallest_share_still_lets_somebody_pass(rate: float, burst: int, share: float) -> None:
    assert refilled(0.0, 2.0 / (rate * share), rate=rate, burst=burst, share=share) >= 1.0


def pressed(rate: float, drained: float, *, told_after_s: float = 2.0, lasts_s: int = 300) -> list[tuple[int, int]]:
    """Admitted and lag, second by second, of an endless line before consumers that drain so many a second."""
    tokens, lag, known, admitted = 0.0, 0.0, Load(), 0
    figures: list[int] = []
    history: list[tuple[int, int]] = []
    for tick in range(lasts_s * 10):
        share, _ = BOUNDS.slowed(known)
        tokens = refilled(tokens, 0.1, rate=rate, burst=int(rate), share=share)
        places = pace(10**6, None, tokens, known).places
        tokens, lag, admitted = tokens - places, max(0.0, lag + places - drained / 10), admitted + places
        figures.append(int(lag))
        known = Load(lag=figures[max(0, tick - int(told_after_s * 10))])
        if tick % 10 == 9:
            history.append((admitted, int(lag)))
            admitted = 0
    return history


@given(st.integers(300, 1_000), st.floats(0.1, 0.9))
@settings(max_examples=20, deadline=None)
def test_slow_consumers_slow_the_line_to_their_own_pace_and_never_stop_it(rate: int, part: float) -> None:
    history = pressed(rate, rate * part)
    assert all(admitted > 0 for admitted, _ in history)
    assert max(lag for _, lag in history) < BOUNDS.lag.hold_from
    settled = [admitted for admitted, _ in history[-30:]]
    assert sum(settled) / 30 == pytest.approx(rate * part, rel=0.2)


def test_consumers_that_stop_hold_the_line_and_it_goes_on_when_they_do() -> None:
    stopped = pressed(1_000, 0.0)
    assert stopped[-1][0] == 0
    assert stopped[-1][1] < BOUNDS.lag.hold_from + 2_000
