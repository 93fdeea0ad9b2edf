"""The crowd comes as in the trace, and each behaviour is in it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairgate.demo.crowd import arrivals, rush, traits
from fairgate.demo.options import Options, plan

TRACES = st.lists(st.integers(0, 10_000), min_size=1, max_size=50).filter(sum)


@given(TRACES, st.integers(1, 500), st.floats(1.0, 600.0))
def test_every_fan_comes_within_the_time_and_in_order(trace: list[int], fans: int, seconds: float) -> None:
    times = arrivals(trace, fans, seconds)
    assert len(times) == fans
    assert times == sorted(times)
    assert times[0] >= 0 and times[-1] <= seconds * 1.000001


@given(TRACES, st.integers(1, 500))
def test_each_minute_of_the_trace_brings_its_share(trace: list[int], fans: int) -> None:
    came = [0] * len(trace)
    for time in arrivals(trace, fans, float(len(trace))):
        came[min(int(time), len(trace) - 1)] += 1
    for count, requests in zip(came, trace, strict=True):
        assert abs(count - requests / sum(trace) * fans) <= 2


def test_the_part_that_is_rehearsed_is_a_rush() -> None:
    trace = rush()
    assert len(trace) == 180
    assert max(trace) > 5 * trace[0]
    assert max(trace) > 1.5 * trace[-1]


def test_even_a_small_crowd_has_one_of_each_kind() -> None:
    crowd = traits(10, 2, seed=1)
    assert [sum(getattr(fan, kind) for fan in crowd) for kind in ("listens", "joins_twice", "leaves")] == [2, 1, 1]
    assert all(fan.listens for fan in crowd if fan.reconnects)


def test_the_same_seed_gives_the_same_crowd() -> None:
    assert traits(200, 20, seed=7) == traits(200, 20, seed=7) != traits(200, 20, seed=8)


@pytest.mark.parametrize(
    ("fans", "capacity", "tickets", "sold_out"), [(20_000, 15_000, 15_000, 5_000), (100, 500, 100, 0), (1, 1, 1, 0)]
)
def test_who_leaves_comes_back_so_the_arithmetic_is_exact(
    fans: int, capacity: int, tickets: int, sold_out: int
) -> None:
    made = plan(Options(fans=fans, capacity=capacity), "e")
    assert (made.tickets, made.sold_out) == (tickets, sold_out)


def test_a_line_forms_because_the_rate_is_below_what_would_serve_all_as_they_come() -> None:
    made = plan(Options(fans=3_000, seconds=60), "e")
    assert made.rate * made.seconds < made.capacity < made.fans
    assert made.listeners == 300


def test_a_large_crowd_takes_its_time() -> None:
    assert plan(Options(fans=20_000), "e").seconds == 200


def test_there_are_never_more_listeners_than_fans() -> None:
    assert plan(Options(fans=5), "e").listeners == 5
