"""What notification makes of a record, without any server."""

from __future__ import annotations

import json
import string
import uuid
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairgate.domain import words
from fairgate.domain.messages import TicketIssued
from fairgate.notification.letters import Bad, Issued, Message, agrees, note_of_message, read, read_all
from fairgate.stores.hints import HINT_MAX_BYTES, decoded_hints, encoded_hints
from fairgate.stores.inbox import Note, note_of_ticket
from fairgate.streams.dead_letters import Reason
from fairgate.streams.records import Record

TICKET = str(uuid.UUID(int=7))


def record(value: object, topic: str) -> Record:
    raw = value if isinstance(value, bytes | None) else msgspec.json.encode(value)
    return Record(topic, 0, 0, b"u1", raw, [], 0)


def message(**changes: object) -> dict[str, object]:
    base = {"messageId": "m1", "userId": "u1", "kind": "news", "title": "Hello", "body": "You", "timestamp": 1}
    return {**base, **changes}


def issued(**changes: object) -> dict[str, object]:
    base = {"userId": "u1", "ticketId": TICKET, "eventId": "e1", "number": 1, "sequence": 2, "status": "pending"}
    return {**base, "timestamp": 5, **changes}


def ticket(**changes: Any) -> TicketIssued:
    base: dict[str, Any] = {"ticket_id": TICKET, "user_id": "u1", "event_id": "e1", "number": 12, "sequence": 2}
    return TicketIssued(**{**base, "status": "pending", "timestamp": 5, **changes})


def read_one(value: object, topic: str = "notification") -> Issued | Message | Bad:
    return read(record(value, topic), issued_topic="ticket-issued")


@given(st.binary(max_size=200))
def test_no_bytes_whatever_raise(value: bytes) -> None:
    for topic in ("ticket-issued", "notification"):
        assert isinstance(read_one(value, topic), Issued | Message | Bad)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["ticket-issued", "ticket-issued", "notification"]),
            st.sampled_from(["u1", "a b", "a\n", ""]),
            st.sampled_from([TICKET, TICKET.upper(), TICKET + "\n", ""]),
        ),
        max_size=4,
    )
)
def test_many_are_read_as_each_of_them(asked: list[tuple[str, str, str]]) -> None:
    records = [
        record(issued(userId=user, ticketId=ticket_id) if topic == "ticket-issued" else message(userId=user), topic)
        for topic, user, ticket_id in asked
    ]
    together = read_all(records, issued_topic="ticket-issued")
    assert [shown(letter) for letter in together] == [
        shown(read(each, issued_topic="ticket-issued")) for each in records
    ]


def shown(letter: Issued | Message | Bad) -> object:
    return letter if not isinstance(letter, Issued) else (letter.record, msgspec.structs.asdict(letter.fact))


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"null",
        b"[" * 100_000,
        message(userId="a b"),
        message(userId="a" * 65),
        message(messageId=""),
        message(title="x" * 201),
        message(body="x" * 2_001),
        message(timestamp=-1),
        message(data=[1]),
    ],
)
def test_what_is_not_a_message_is_set_aside(value: object) -> None:
    assert isinstance(read_one(value), Bad)


def test_unknown_fields_are_ignored() -> None:
    assert isinstance(read_one(message(colour="red")), Message)
    assert isinstance(read_one(issued(colour="red"), "ticket-issued"), Issued)


@pytest.mark.parametrize("ticket_id", ["", "7", TICKET.replace("-", ""), f"{{{TICKET}}}", TICKET + "0"])
def test_a_ticket_id_in_any_other_form_is_set_aside(ticket_id: str) -> None:
    assert isinstance(read_one(issued(ticketId=ticket_id), "ticket-issued"), Bad)


def test_a_foreign_message_cannot_take_the_place_of_a_tickets() -> None:
    assert isinstance(read_one(message(messageId=f"issued:{TICKET}")), Bad)
    assert isinstance(read_one(message(kind="ticket:issued")), Bad)


def test_a_fact_about_somebody_else_is_not_believed() -> None:
    fact = msgspec.json.decode(msgspec.json.encode(issued()), type=TicketIssued)
    assert agrees(fact, ticket())
    assert not agrees(fact, ticket(user_id="u2"))
    assert not agrees(fact, ticket(event_id="e2"))
    assert not agrees(fact, None)


@pytest.mark.parametrize(("locale", "title"), [("en", "Your ticket has been issued!"), ("ko", "티켓 발급 완료!")])
def test_a_ticket_is_told_in_the_language_of_its_owner(locale: str, title: str) -> None:
    note = note_of_ticket(ticket(), locale)
    payload = msgspec.json.decode(note.payload)

    assert note.id == payload["id"] == f"issued:{TICKET}"
    assert payload["title"] == title
    assert "12" in payload["body"]
    assert set(payload) == {
        *("id", "kind", "ticketId", "eventId", "userId", "number", "sequence", "status", "timestamp", "title", "body")
    }


def test_a_known_kind_without_words_of_its_own_gets_ours() -> None:
    letter = read_one(message(kind="queue:sold_out", title="Sold out", body="", data={"eventId": "e1"}))
    assert isinstance(letter, Message)

    korean = note_of_message(letter, "ko")
    english = note_of_message(letter, "en")

    assert isinstance(korean, Note) and isinstance(english, Note)
    assert msgspec.json.decode(korean.payload)["title"] == "매진되었습니다"
    assert msgspec.json.decode(english.payload)["title"] == "Sold out"


def test_a_message_with_words_of_its_own_keeps_them() -> None:
    letter = read_one(message(kind="queue:sold_out"))
    assert isinstance(letter, Message)
    note = note_of_message(letter, "ko")
    assert isinstance(note, Note)
    assert msgspec.json.decode(note.payload)["title"] == "Hello"


def test_a_message_too_large_for_a_device_is_set_aside() -> None:
    letter = read_one(message(data={"x": "y" * 20_000}))
    assert isinstance(letter, Message)
    assert isinstance(note_of_message(letter, "en"), Bad)


@pytest.mark.parametrize(("depth", "fine"), [(32, True), (33, False), (900, False)])
def test_a_message_that_its_readers_could_not_follow_is_set_aside(depth: int, fine: bool) -> None:
    document = json.loads('{"x":' * depth + "1" + "}" * depth)
    letter = read_one(json.dumps(message(data=document)).encode())
    assert isinstance(letter, Message)
    note = note_of_message(letter, "en")
    assert isinstance(note, Note) if fine else (isinstance(note, Bad) and note.kind == Reason.TOO_LARGE)


@pytest.mark.parametrize("changes", [{"timestamp": 2**53}, {"userId": "u\n"}, {"messageId": "m\n"}])
def test_what_no_reader_could_hold_is_set_aside(changes: dict[str, object]) -> None:
    assert isinstance(read_one(message(**changes)), Bad)


def test_every_language_has_every_word() -> None:
    for kind, by_locale in words.kinds().items():
        assert set(by_locale) == {"en", "ko"}, kind
        fields = {
            locale: {field for _, field, _, _ in string.Formatter().parse(text.body) if field}
            for locale, text in by_locale.items()
        }
        assert fields["en"] == fields["ko"], kind


@given(st.lists(st.integers(min_value=0, max_value=16_000), max_size=60))
def test_hints_lose_nothing_and_stay_below_their_bound(sizes: list[int]) -> None:
    notes = [Note("u", f"m{i}", "k", msgspec.json.encode({"x": "y" * size})) for i, size in enumerate(sizes)]

    messages = encoded_hints(notes)
    back = [hint for one in messages for hint in decoded_hints(one.decode())]

    assert [(hint.id, bytes(hint.payload)) for hint in back] == [(note.id, note.payload) for note in notes]
    assert all(len(one) <= HINT_MAX_BYTES + 1_000 for one in messages)
