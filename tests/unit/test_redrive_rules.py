"""What people see of dead letters, and what is sent again, without any server."""

from __future__ import annotations

import json

import pytest

from fairgate.config import Config
from fairgate.errors import InvalidRequest
from fairgate.ops.dead_letters import heaps, letter_of, topics_of
from fairgate.ops.redrive import Repair
from fairgate.ops.shown import headers_shown, shown
from fairgate.stores.redriven import Origin
from fairgate.streams.dead_letters import Failure, Reader, Reason, dead_letter
from fairgate.streams.records import Headers, Record


def dead(offset: int, at: int, reason: Reason = Reason.UNREADABLE, failed_ms: int = 5) -> Record:
    """The letter of record 0@offset, lying at 0@at."""
    message = dead_letter(
        Record("t", 0, offset, b"k", b"{", [], 7), Failure(reason, f"why {at}"), Reader("g", "i"), failed_ms
    )
    return Record("t.dlq", 0, at, b"k", b"{", message.headers, 9)


class TestLetters:
    def test_a_letter_is_known_by_the_record_that_died(self) -> None:
        letter = letter_of(dead(3, at=11))
        assert (letter.origin, letter.place) == (Origin("t", 0, 3, 7), "0@11")
        assert (letter.reason, letter.text, letter.attempts, letter.group) == ("unreadable", "why 11", 1, "g")

    @pytest.mark.parametrize(
        "headers",
        [
            [],
            [("fg_topic", b"elsewhere"), ("fg_partition", b"-1"), ("fg_offset", b"1"), ("fg_timestamp", b"1")],
            [("fg_partition", b"9" * 30), ("fg_offset", b"9" * 5_000), ("fg_timestamp", b"\xff")],
            [("fg_partition", b"4294967296"), ("fg_offset", b"1"), ("fg_timestamp", b"1")],
            [("fg_partition", "²".encode()), ("fg_offset", b"1"), ("fg_timestamp", b"1")],
            [("fg_partition", None), ("fg_offset", None), ("fg_timestamp", None)],
        ],
    )
    def test_a_letter_that_somebody_else_wrote_is_known_by_its_own_place(self, headers: Headers) -> None:
        assert letter_of(Record("t.dlq", 2, 11, None, None, headers, 9)).origin == Origin("t.dlq", 2, 11, 9)

    def test_the_same_record_dead_twice_is_one_letter_and_a_repeat(self) -> None:
        found = [dead(3, at=0), dead(4, at=1, failed_ms=6), dead(3, at=2), dead(9, at=3, reason=Reason.RESERVED)]
        first, second = heaps(map(letter_of, found), {Origin("t", 0, 4, 7)})
        assert (first.reason, first.letters, first.repeats, first.redriven) == ("unreadable", 2, 1, 1)
        assert (first.newest, first.newest_text) == ("0@1", "why 1")
        assert (second.reason, second.letters, second.repeats, second.redriven) == ("reserved", 1, 0, 0)

    def test_a_topic_is_found_by_each_of_its_names_and_no_other_has_letters(self) -> None:
        config = Config(topic_prefix="p-")
        for name in ("ticket-issue", "ticket-issue.dlq", "p-ticket-issue", "p-ticket-issue.dlq"):
            assert topics_of(config, name) == ["p-ticket-issue"]
        assert len(topics_of(config, None)) == 3
        with pytest.raises(InvalidRequest):
            topics_of(config, "queue-journal")


class TestRepair:
    def test_a_field_is_set_and_the_others_stay(self) -> None:
        repair = Repair(changes=[(("number",), 5), (("data", "seat"), "A 1")])
        assert json.loads(repair(b'{"number":1,"data":{"row":2}}') or b"") == {
            "number": 5,
            "data": {"row": 2, "seat": "A 1"},
        }

    @pytest.mark.parametrize("value", [b"{", b"\xff", b"[]", b'{"data":1}', b"null", None, b"[" * 100_000])
    def test_what_has_no_such_field_is_not_sent(self, value: bytes | None) -> None:
        with pytest.raises(InvalidRequest):
            Repair(changes=[(("data", "seat"), 1)])(value)

    def test_without_a_repair_every_byte_stays(self) -> None:
        assert Repair()(b"\xff {") == b"\xff {"
        assert Repair(value=b"new")(b"old") == b"new"


class TestShown:
    @pytest.mark.parametrize(
        "value",
        [
            b'{"token":"hunter2"}',
            b'{"data":[{"email":"hunter2@example.org"}]}',
            b'{"x":"s1.hunter2hunter2.abc"}',
            b'{"token":"hunter2",',
            b'{"data":{"apiSecret" : "hunter2',
            b"\xff Bearer hunter2",
            b'{"x":' * 2_000 + b'{"password":"hunter2"}',
        ],
    )
    def test_no_secret_is_shown(self, value: bytes) -> None:
        assert "hunter2" not in shown(value)

    def test_no_header_that_is_named_like_a_secret_is_shown(self) -> None:
        headers = headers_shown(Record("t", 0, 0, None, None, [("Authorization", b"hunter2"), ("ce_id", b"1")], 0))
        assert headers == [("Authorization", "[redacted]"), ("ce_id", "1")]

    def test_nothing_that_a_terminal_would_obey_is_shown(self) -> None:
        text = shown('{"title":"\\u001b[2Jred\\u202e\\u009b1m",\n"body":"티켓"}'.encode() + b"\x1b]0;x\x07")
        assert text.isprintable() and "티켓" in text

    def test_what_is_shown_is_bounded(self) -> None:
        assert len(shown(b"x" * 1_000_000)) < 5_000
