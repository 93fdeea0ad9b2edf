"""Which claims are orphans, and what becomes of each."""

from __future__ import annotations

import pytest

from fairgate.ops.orphans import figures, orphans_of
from fairgate.stores.accounts import StandingClaim
from tests.support.accounts import event_account, line_account

OLD, YOUNG = StandingClaim("old", 7, 60.0), StandingClaim("young", 8, 0.2)


def test_a_claim_is_overdue_once_it_should_have_been_back() -> None:
    found = orphans_of(event_account(), line_account(OLD, YOUNG))
    assert [(orphan.user_id, orphan.sequence, orphan.overdue) for orphan in found] == [
        ("old", 7, True),
        ("young", 8, False),
    ]
    assert figures([(event_account(), line_account(OLD, YOUNG))]) == (2, 60.0)


@pytest.mark.parametrize(
    ("event", "held", "words"),
    [
        (event_account(state="paused"), False, "the line is paused"),
        (event_account(state="scheduled"), False, "the line is scheduled"),
        (event_account(capacity=5, reserved=5), True, "no ticket remains"),
    ],
)
def test_a_claim_that_nobody_may_let_pass_is_no_orphan(event: object, held: bool, words: str) -> None:
    line = line_account(OLD, held=held)
    (orphan,) = orphans_of(event, line)  # type: ignore[arg-type]
    assert not orphan.overdue
    assert orphan.then.startswith(words)
    assert figures([(event, line)]) == (1, 0.0)  # type: ignore[list-item]


@pytest.mark.parametrize(
    "event",
    [
        event_account(capacity=5, reserved=4),  # a ticket came back
        event_account(capacity=5, reserved=5, sold_out=True),  # who waits is told so
        event_account(state="closed"),
    ],
)
def test_a_held_claim_is_due_once_something_can_become_of_it(event: object) -> None:
    (orphan,) = orphans_of(event, line_account(OLD, held=True))  # type: ignore[arg-type]
    assert orphan.overdue


def test_who_will_bring_a_claim_back_is_said() -> None:
    owned, free = event_account(), event_account(lease_owner=None, lease_s=-3.0)
    assert orphans_of(owned, line_account(OLD))[0].then.startswith("admission-0 ")
    assert orphans_of(free, line_account(OLD))[0].then.startswith("nobody owns the line")


def test_without_claims_there_is_no_orphan() -> None:
    assert orphans_of(event_account(), line_account()) == []
    assert figures([]) == (0, 0.0)
