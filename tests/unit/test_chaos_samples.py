"""What follows from the series of a run, and which crowd comes."""

from __future__ import annotations

import pytest

from fairgate.chaos import crowd
from fairgate.chaos.figures import bounds_of, leading, total_of
from fairgate.chaos.samples import Sample, longest_stall_s, rates, thinned
from fairgate.chaos.soak import connected, growth, second_half, slope_per_h


def series(*values: tuple[float, int | None]) -> list[Sample]:
    return [Sample(at_s=at_s, issued=value) for at_s, value in values]


def test_a_stall_lasts_from_the_last_progress_to_the_next() -> None:
    samples = series((0, 0), (1, 5), (2, 5), (3, 5), (4, 6), (5, 7))
    assert longest_stall_s(samples, "issued", 0.0) == 3


def test_a_stall_before_the_fault_does_not_count() -> None:
    assert longest_stall_s(series((0, 5), (9, 5), (10, 6), (11, 7)), "issued", 9.5) == 1


def test_a_gap_in_which_something_was_gained_is_as_long_as_nobody_looked() -> None:
    assert longest_stall_s(series((0, 1), (1, 2), (2, None), (3, None), (4, 9), (5, 10)), "issued", 0.0) == 3


def test_a_stall_that_never_ends_is_counted() -> None:
    assert longest_stall_s(series((0, 1), (1, 2), (20, 2)), "issued", 0.0) == 19


def test_nothing_at_all_is_a_stall_from_the_start() -> None:
    assert longest_stall_s(series((0, None), (30, None)), "issued", 0.0) == 30


def test_acknowledged_is_what_was_admitted_and_is_out_of_the_outbox() -> None:
    assert Sample(at_s=0, admitted=10, unsent=3).acknowledged == 7
    assert Sample(at_s=0, admitted=10).acknowledged is None


def test_a_rate_next_to_a_gap_is_unknown() -> None:
    assert rates(series((0, 0), (2, 10), (3, None), (4, 20)), "issued") == [(2, 5.0), (3, None), (4, None)]


@pytest.mark.parametrize("most", [1, 7, 100, 5000])
def test_thinned_series_keep_their_first_and_last_sample_and_stay_small(most: int) -> None:
    samples = series(*((float(at), at) for at in range(1000)))
    kept = thinned(samples, most)
    assert kept[0] is samples[0] and kept[-1] is samples[-1]
    assert len(kept) <= max(most + 1, 2)


# ---- the crowd


def some(count: int, seed: int = 7) -> list[crowd.Arrival]:
    return list(crowd.arrivals(150.0, seed, count))


def test_the_same_seed_brings_the_same_crowd_at_the_same_times() -> None:
    assert some(2_000) == some(2_000)
    assert some(2_000) != some(2_000, seed=8)


def test_the_crowd_comes_at_its_rate_and_four_of_five_to_one_event() -> None:
    people = some(20_000)
    assert people[-1].at_s == pytest.approx(20_000 / 150, rel=0.05)
    assert sum(one.event == 0 for one in people) / len(people) == pytest.approx(0.8, abs=0.02)
    assert {one.event for one in people} == set(range(crowd.EVENTS))


def test_one_of_ten_leaves_one_of_twenty_asks_twice_and_hundreds_listen_all_the_time() -> None:
    traits = [one.traits for one in some(20_000)]
    assert sum(one.leaves for one in traits) / len(traits) == pytest.approx(0.1, abs=0.01)
    assert sum(one.joins_twice for one in traits) / len(traits) == pytest.approx(0.05, abs=0.01)
    assert sum(one.lingers for one in traits) >= 200
    assert all(one.listens and one.reconnects and one.stays for one in traits if one.lingers)


def test_who_leaves_for_good_does_not_stay_to_be_told() -> None:
    assert not [one.traits for one in some(20_000) if one.traits.leaves and not one.traits.regrets and one.traits.stays]


def test_lines_are_faster_than_the_crowd_and_one_is_sold_out_soon() -> None:
    lines = crowd.lines("chaos", 150.0, fans=100_000)
    assert all(line.rate > line.share * 150.0 for line in lines)
    assert sum(line.share for line in lines) == pytest.approx(1.0)
    assert lines[-1].capacity < 60 * lines[-1].share * 150.0 < lines[0].capacity


# ---- figures


METRICS = """# HELP fairgate_admission_bound_total Rounds
fairgate_admission_bound_total{bound="none"} 12.0
fairgate_admission_bound_total{bound="rate"} 30.0
fairgate_admission_bound_created{bound="rate"} 1.7e+09
"""


def test_the_bound_that_decided_most_rounds_since_the_last_look_is_named() -> None:
    now = {"admission-0": bounds_of(METRICS)}
    assert leading({}, now) == "rate"
    assert leading({"admission-0": {"none": 2.0, "rate": 29.0}}, now) == "none"
    assert leading(now, now) is None


def test_a_process_that_was_started_anew_counts_from_nothing() -> None:
    assert leading({"admission-0": {"none": 100.0, "rate": 0.0}}, {"admission-0": {"none": 3.0, "rate": 1.0}}) == "none"


def test_a_counter_is_summed_over_its_labels_and_no_other_is_taken_for_it() -> None:
    text = 'x_total{a="1",b="2"} 3.0\nx_total{a="2"} 4.0\nx_total_more 9.0\ny_total 1e+03\n'
    assert (total_of(text, "x_total"), total_of(text, "y_total"), total_of(text, "z_total")) == (7.0, 1000.0, 0.0)


def test_a_leak_has_a_slope_and_steady_memory_has_none() -> None:
    assert slope_per_h([(0.0, 100.0), (1800.0, 150.0), (3600.0, 200.0)]) == pytest.approx(100.0)
    assert slope_per_h([(0.0, 100.0), (10.0, 100.0), (20.0, 100.0)]) == 0.0


def test_a_process_is_judged_only_where_it_lived_through_most_of_the_second_half() -> None:
    points = [(float(at), 1.0) for at in range(0, 100, 10)]
    assert second_half(points, 0.0, 90.0) == points[5:]
    assert second_half(points[8:], 0.0, 90.0) == []


def test_a_table_that_grows_is_told_from_one_that_is_full() -> None:
    steady = [(float(at), min(at, 40.0)) for at in range(100)]
    assert growth(steady) == 1.0
    assert growth([(at, 2.0 ** (at / 10)) for at, _ in steady]) == pytest.approx(2**2.5, rel=0.1)
    assert growth([]) is None and growth([(0.0, 1.0)]) is None


def test_connections_are_read_off_valkeys_own_words() -> None:
    assert connected({"connected_clients": 17}) == 17
    assert connected(b"# Clients\r\nconnected_clients:21\r\nmaxclients:10000\r\n") == 21
