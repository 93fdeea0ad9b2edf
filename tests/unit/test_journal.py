"""What a journal means does not depend on the order of its records, on repeats, or on what was written around a gap."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from fairgate.domain.journal import Ledger
from fairgate.domain.line import first_sequence
from fairgate.domain.messages import QueueJournal
from fairgate.stores.journal import comes_before, entry

FIRST = first_sequence(1)


def record(kind: str, places: dict[str, int], era: int = 0, **fields: object) -> QueueJournal:
    return QueueJournal(
        event_id="ev",
        kind=kind,  # type: ignore[arg-type]
        era=era,
        timestamp=0,
        users=list(places),
        sequences=list(places.values()),
        **fields,  # type: ignore[arg-type]
    )


def ledger(*records: QueueJournal) -> Ledger:
    made = Ledger()
    for one in records:
        made.read(one)
    return made


def snapshot(places: dict[str, int], era: int, watermark: int, name: str = "s", parts: int | None = 1) -> QueueJournal:
    return record("snapshot", places, era, snapshot=name, parts=parts, watermark=watermark)


def test_who_joined_and_did_not_leave_waits() -> None:
    journal = ledger(record("joined", {"a": 1, "b": 2}), record("left", {"a": 1}))
    assert journal.waiting({}, {}) == {"b": 2}


def test_who_left_and_joined_again_stands_at_the_later_place() -> None:
    journal = ledger(record("left", {"a": 1}), record("joined", {"a": 7}), record("joined", {"a": 1}))
    assert journal.waiting({}, {}) == {"a": 7}


def test_a_place_that_the_server_brought_back_does_not_outlive_its_end() -> None:
    journal = ledger(record("left", {"left": 1}))
    present = {"left": 1, "admitted": 2, "again": 9, "waits": 4}
    assert journal.waiting(present, {"admitted": 2, "again": 3}) == {"again": 9, "waits": 4}


def test_a_complete_snapshot_ends_what_was_said_before_it() -> None:
    journal = ledger(
        record("joined", {"left-in-the-gap": 1, "stays": 2}, era=0),
        snapshot({"stays": 2, "joined-in-the-gap": 3}, era=1, watermark=FIRST + 3),
        record("joined", {"later": 4}, era=1),
    )
    assert journal.waiting({}, {}) == {"stays": 2, "joined-in-the-gap": 3, "later": 4}
    assert journal.marks({}) == {0: 4, 1: FIRST + 3}


def test_an_incomplete_snapshot_takes_nobody_away() -> None:
    journal = ledger(
        record("joined", {"a": 1, "b": 2}),
        snapshot({"c": 3}, era=1, watermark=FIRST + 9, parts=2),
    )
    assert journal.waiting({}, {}) == {"a": 1, "b": 2, "c": 3}
    assert 1 not in journal.marks({})


def test_the_mark_is_the_highest_that_was_found_of_each_generation() -> None:
    journal = ledger(record("joined", {"a": FIRST + 5, "b": first_sequence(2) + 1}), record("left", {"c": FIRST + 8}))
    assert journal.marks({"d": FIRST + 9}) == {1: FIRST + 9, 2: first_sequence(2) + 1}


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[QueueJournal], dict[str, int]]:
    """A line's life as its journal tells it, and who waits in the end."""
    waiting: dict[str, int] = {}
    records, era, given_out = [], 0, 0
    for step in draw(st.lists(st.tuples(st.sampled_from("jjjlg"), st.integers(0, 5)), max_size=30)):
        what, user = step[0], f"u{step[1]}"
        if what == "j" and user not in waiting:
            given_out += 1
            waiting[user] = FIRST + given_out
            records.append(record("joined", {user: waiting[user]}, era))
        elif what == "l" and user in waiting:
            records.append(record("left", {user: waiting.pop(user)}, era))
        elif what == "g":  # a gap: who is called here leaves unheard, and a snapshot follows
            waiting.pop(user, None)
            era += 1
            records.append(snapshot(dict(waiting), era, FIRST + given_out, name=f"s{era}"))
    return records, waiting


@given(histories(), st.randoms())
def test_order_and_repeats_mean_nothing(
    history: tuple[list[QueueJournal], dict[str, int]], dice: random.Random
) -> None:
    records, waiting = history
    shuffled = records + dice.sample(records, len(records) // 2)
    dice.shuffle(shuffled)
    assert ledger(*shuffled).waiting({}, {}) == ledger(*records).waiting({}, {}) == waiting


def test_entries_are_read_as_the_scripts_write_them() -> None:
    assert entry(b"5-0", b"j", b"2 11 a b") == ("5-0", "j", 2, ["a", "b"], [11, 12])
    assert entry(b"5-1", b"p", b"0 7 a 3 b") == ("5-1", "p", 0, ["a", "b"], [7, 3])
    assert entry(b"5-2", b"l", b"0 7 a") == ("5-2", "l", 0, ["a"], [7])
    assert entry(b"5-3", b"e", b"3 99") == ("5-3", "e", 3, [], [99])


def test_stream_ids_are_compared_as_numbers() -> None:
    assert comes_before("9-1", "10-0") and comes_before("10-2", "10-10") and comes_before("", "1-0")
    assert comes_before("10-0", "10-0") and not comes_before("10-1", "10-0")
