"""Ids, sequences, outcomes and the life of a ticket."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairgate.domain import ids
from fairgate.domain.line import GENERATION_BITS, GENERATIONS_MAX, first_sequence, generation_of
from fairgate.domain.place import Outcome, PlaceSigner, Status
from fairgate.domain.ticket import TicketStatus, may_become
from fairgate.errors import InvalidRequest

good = st.text("ABCZabcz0189_.:@-", min_size=1, max_size=64)
SIGNER = PlaceSigner(b"k" * 32)


@given(good)
def test_every_id_of_the_alphabet_is_taken(text: str) -> None:
    assert ids.user_id(text) == text


@given(st.text())
def test_nothing_else_is_an_id(text: str) -> None:
    allowed = set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.:@-")
    assert ids.is_id(text) == (0 < len(text) <= 64 and set(text) <= allowed)


@pytest.mark.parametrize("text", ["join", "position", "leave", "", "a b", "a\n", "é", "x" * 65, None, 7, "{a}"])
def test_these_are_no_event_ids(text: object) -> None:
    with pytest.raises(InvalidRequest):
        ids.event_id(text)


@given(st.integers(0, 10_000))
def test_ticket_ids_are_uuids_of_version_7_that_grow(count: int) -> None:
    made = ids.ticket_ids(count)
    assert len(set(made)) == count
    assert [str(uuid.UUID(id)) for id in made] == made
    assert {(uuid.UUID(id).version, uuid.UUID(id).variant) for id in made} <= {(7, uuid.RFC_4122)}
    beginnings = [id[:18] for id in made]
    assert beginnings == sorted(beginnings)


@given(st.integers(1, GENERATIONS_MAX), st.integers(0, (1 << GENERATION_BITS) - 1))
def test_a_later_generation_is_always_larger_and_exact_as_a_score(generation: int, counter: int) -> None:
    sequence = first_sequence(generation) + counter
    assert generation_of(sequence) == generation
    assert first_sequence(generation + 1) > sequence
    assert int(float(sequence)) == sequence


@given(st.sampled_from(Status), st.integers(-(10**9), 10**15), st.none() | good)
def test_an_outcome_survives_its_packing(status: Status, sequence: int, ticket_id: str | None) -> None:
    outcome = Outcome(status, sequence, ticket_id)
    assert Outcome.unpacked(outcome.packed()) == outcome


@given(good, good, st.integers(first_sequence(1), first_sequence(3)))
def test_a_place_token_proves_its_own_place_only(event_id: str, user_id: str, sequence: int) -> None:
    token = SIGNER.sign(event_id, user_id, sequence)
    assert SIGNER.sequence(token, event_id, user_id) == sequence
    assert SIGNER.sequence(token, event_id, user_id + "x") is None
    assert SIGNER.sequence(token, event_id + "x", user_id) is None
    assert PlaceSigner(b"j" * 32).sequence(token, event_id, user_id) is None
    head, mac = token.rsplit(".", 1)
    kind, kid, _ = head.split(".")
    assert SIGNER.sequence(f"{kind}.{kid}.{sequence + 1}.{mac}", event_id, user_id) is None


@given(st.text())
def test_no_text_is_a_place_by_chance(text: str) -> None:
    assert SIGNER.sequence(text, "e", "u") is None


def test_a_ticket_that_has_ended_stays_ended() -> None:
    for ended in (TicketStatus.CANCELLED, TicketStatus.EXPIRED):
        assert not any(may_become(ended, then) for then in TicketStatus)
    assert not may_become(TicketStatus.CONFIRMED, TicketStatus.EXPIRED)
