"""The equations of the books, and which difference is no transit."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairgate.ops.audit import (
    LASTS_S,
    LOOKS,
    Key,
    Lasting,
    differences,
    line_difference,
    pipeline_difference,
    stock_difference,
    tickets_difference,
)
from fairgate.ops.books import row_differences
from fairgate.stores.accounts import Rows
from tests.support.accounts import event_account, line_account

counts = st.integers(0, 1_000_000)
KEY = Key("stock", "concert")


columns = st.fixed_dictionaries(dict.fromkeys(("waiting", "claims", "left", "admitted", "departed"), counts))


@given(columns, st.integers(-5, 5))
def test_a_line_balances_when_everybody_who_joined_is_somewhere(everybody: dict[str, int], lost: int) -> None:
    line = line_account(joined=sum(everybody.values()) + lost, **everybody)
    assert line_difference(event_account(), line) == lost


@pytest.mark.parametrize("line", [line_account(joined=9, recovering=True), line_account(joined=9, generation=0)])
def test_a_line_that_is_being_brought_back_is_not_judged(line: object) -> None:
    assert line_difference(event_account(), line) == 0  # type: ignore[arg-type]
    assert line_difference(event_account(generation=2), line_account(joined=9)) == 0


@given(counts, counts, counts, counts, st.integers(-5, 5))
def test_what_is_reserved_is_live_or_on_its_way(
    live: int, on_its_way: int, cancelled: int, expired: int, odd: int
) -> None:
    admitted = live + on_its_way + cancelled + expired
    event = event_account(reserved=live + on_its_way + odd, admitted=admitted, cancelled=cancelled, expired=expired)
    assert stock_difference(event) == odd


def test_more_tickets_can_not_have_ended_than_were_issued() -> None:
    assert tickets_difference(event_account(issued=5, confirmed=2, cancelled=2, expired=1)) == 0
    assert tickets_difference(event_account(issued=5, confirmed=3, cancelled=2, expired=1)) == -1
    assert tickets_difference(event_account(issued=5, confirmed=-1)) == -1


@given(counts, counts, counts, st.integers(0, 1_000))
def test_what_kafka_holds_is_on_its_way(issued: int, unsent: int, in_kafka: int, lost: int) -> None:
    event = event_account(admitted=issued + unsent + in_kafka + lost, issued=issued, unsent=unsent)
    assert pipeline_difference([event], in_kafka) == lost
    assert pipeline_difference([event], in_kafka + lost) == 0
    assert pipeline_difference([event], in_kafka + lost + 7) == 0, "a record may be in Kafka twice"


def test_a_ticket_that_nobody_was_admitted_to_is_a_difference() -> None:
    assert pipeline_difference([event_account(admitted=1, issued=3)], 0) == -2


def test_an_unknown_lag_judges_no_pipeline() -> None:
    accounts = [(event_account(admitted=9, reserved=9), line_account())]
    assert differences(accounts, None) == {}
    assert differences(accounts, 4) == {Key("pipeline", "*"): 5}


# ---- what lasts


def test_a_difference_lasts_after_enough_looks_over_enough_time() -> None:
    lasting = Lasting()
    assert [lasting.note(at, {KEY: 3}) for at in (0.0, 1.0, 2.0)] == [{}, {}, {}]
    assert lasting.note(LASTS_S, {KEY: 3}) == {KEY: 3}
    few = Lasting()
    assert few.note(0.0, {KEY: 3}) == few.note(LASTS_S * 2, {KEY: 3}) == {}


def test_a_difference_that_was_gone_once_begins_anew() -> None:
    lasting = Lasting()
    lasting.note(0.0, {KEY: 3})
    lasting.note(5.0, {})
    assert [lasting.note(at, {KEY: 3}) for at in (LASTS_S, LASTS_S + 5.0)] == [{}, {}]


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=40))
def test_only_what_every_look_of_ten_seconds_finds_lasts_and_by_the_least_of_them(amounts: list[int]) -> None:
    lasting, lasts = Lasting(), {}
    for second, amount in enumerate(amounts):
        lasts = lasting.note(float(second), {KEY: amount} if amount else {})
    run = [amounts[-1]]
    for later, earlier in pairwise(reversed(amounts)):
        if later * earlier <= 0:
            break
        run.append(earlier)
    expected = len(run) >= LOOKS and len(run) - 1 >= LASTS_S and amounts[-1] != 0
    assert lasts == ({KEY: min(run, key=abs)} if expected else {})


# ---- row by row


def test_counters_are_compared_with_the_rows_behind_them() -> None:
    event = event_account(admitted=4, reserved=3, issued=3, confirmed=1, cancelled=1)
    rows = Rows(
        event_id="concert",
        admissions=4,
        unsettled=1,
        pending=1,
        confirmed=1,
        cancelled=1,
        expired=0,
        departures=0,
    )
    assert row_differences(event, rows) == []
    gone = Rows(
        event_id="concert",
        admissions=4,
        unsettled=2,
        pending=1,
        confirmed=0,
        cancelled=1,
        expired=0,
        departures=0,
    )
    found = {one.what.split()[0]: one.amount for one in row_differences(event, gone)}
    assert found == {"issued": 1, "confirmed": 1}
