"""The form of a dead letter: the original, the cause, and bounds for both."""

from __future__ import annotations

import json

import pytest

from fairgate.config import Config
from fairgate.streams.dead_letters import (
    HEADERS_MAX_BYTES,
    KEY_MAX_BYTES,
    REASON_MAX,
    VALUE_MAX_BYTES,
    Failure,
    Message,
    Reader,
    Reason,
    dead_letter,
    original_headers,
    reader,
)
from fairgate.streams.records import Headers, Record

BY = Reader("x-group", "host:7")
# What the client takes by default, and the broker with it.
MESSAGE_MAX_BYTES = 1_000_000


def record(value: bytes | None = b"{bad", key: bytes | None = b"k", headers: Headers | None = None) -> Record:
    return Record("t", 4, 17, key, value, [("ce_id", b"1")] if headers is None else headers, 1_234)


def letter(record: Record, text: str = "not JSON") -> Message:
    return dead_letter(record, Failure(Reason.UNREADABLE, text), BY, now_ms=5)


def test_the_original_goes_with_its_cause() -> None:
    made = dead_letter(record(), Failure(Reason.UNKNOWN_ADMISSION, "none", 3, first_at_ms=2), BY, now_ms=5)
    assert (made.topic, made.key, made.value) == ("t.dlq", b"k", b"{bad")
    assert dict(made.headers) == {
        "ce_id": b"1",
        "fg_topic": b"t",
        "fg_partition": b"4",
        "fg_offset": b"17",
        "fg_timestamp": b"1234",
        "fg_reason_type": b"unknown-admission",
        "fg_reason": b"none",
        "fg_attempts": b"3",
        "fg_first_failed_at": b"2",
        "fg_failed_at": b"5",
        "fg_group": b"x-group",
        "fg_instance": b"host:7",
    }


def test_what_failed_at_once_failed_first_and_last_at_the_same_time() -> None:
    headers = dict(letter(record()).headers)
    assert headers["fg_first_failed_at"] == headers["fg_failed_at"] == b"5" and headers["fg_attempts"] == b"1"


def test_a_reader_has_the_name_that_its_operator_gave_it() -> None:
    assert reader(Config(topic_prefix="p-", instance="ticketing-2"), "group") == Reader("p-group", "ticketing-2")
    assert ":" in reader(Config(), "group").instance


def test_a_value_that_would_not_fit_is_replaced_by_a_stub() -> None:
    made = letter(record(b"x" * (VALUE_MAX_BYTES + 1)))
    stub = json.loads(made.value or b"")
    assert stub["bytes"] == VALUE_MAX_BYTES + 1 and len(stub["sha256"]) == 64 and stub["beginning"].startswith("xxx")
    assert dict(made.headers)["fg_cut"] == b"value"


@pytest.mark.parametrize(
    "headers",
    [
        [("h", b"x" * 1_000_000)],
        [("", None)] * 300_000,
        [("票" * HEADERS_MAX_BYTES, b"")],
        [("h", b"x" * 60_000), ("票" * 1_000, b"")],
        [("fg_reason", b"x" * HEADERS_MAX_BYTES)],
    ],
    ids=["one large", "many empty", "a large name", "just small enough", "ours"],
)
def test_whatever_came_in_the_letter_fits_into_its_topic(headers: Headers) -> None:
    made = letter(record(b"x" * 1_000_000, b"k" * 1_000_000, headers), "票" * 10_000)
    size = len(made.key or b"") + len(made.value or b"")
    size += sum(16 + len(name.encode()) + len(value or b"") for name, value in made.headers)
    assert size < MESSAGE_MAX_BYTES / 2
    assert "value" in (cut := dict(made.headers)["fg_cut"].decode()) and "key" in cut  # type: ignore[union-attr]


def test_what_is_just_small_enough_stays_as_it_was() -> None:
    made = letter(record(b"x" * VALUE_MAX_BYTES, b"k" * KEY_MAX_BYTES), "r" * REASON_MAX)
    assert (len(made.value or b""), len(made.key or b"")) == (VALUE_MAX_BYTES, KEY_MAX_BYTES)
    assert "fg_cut" not in dict(made.headers)


def test_a_letter_that_dies_again_tells_its_last_death() -> None:
    again = Record("t.dlq", 0, 1, b"k", b"v", letter(record(), "first").headers, 0)
    reasons = [value for name, value in letter(again, "second").headers if name == "fg_reason"]
    assert reasons == [b"second"]
    assert original_headers(again) == [("ce_id", b"1")]


def test_a_forged_cause_is_not_kept() -> None:
    forged = record(headers=[("fg_topic", b"elsewhere"), ("fg_group", b"them"), ("ce_id", b"1")])
    headers = letter(forged).headers
    assert [value for name, value in headers if name in {"fg_topic", "fg_group"}] == [b"t", b"x-group"]


def test_a_letter_without_key_and_value_stays_so() -> None:
    made = letter(record(None, None, []))
    assert made.key is None and made.value is None and "fg_cut" not in dict(made.headers)
