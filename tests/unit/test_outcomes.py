"""The cache of outcomes is written for all lines together; one that fails is tried again, and only that one."""

from __future__ import annotations

from collections.abc import Sequence

from fairgate.domain.messages import TicketIssued
from fairgate.domain.place import Outcome
from fairgate.domain.ticket import TicketStatus
from fairgate.errors import FairgateError, Unavailable
from fairgate.notification.outcomes import PER_CALL, Outcomes


class Cache:
    """What `LineStore.remember_each` is for this duty."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []
        self.known: dict[tuple[str, str], Outcome] = {}
        self.broken: set[str] = set()

    async def remember(self, known: Sequence[tuple[str, Sequence[tuple[str, Outcome]]]]) -> list[FairgateError | None]:
        return [self._remember(*one) for one in known]

    def _remember(self, event_id: str, outcomes: Sequence[tuple[str, Outcome]]) -> FairgateError | None:
        self.calls.append((event_id, len(outcomes)))
        if event_id in self.broken:
            return Unavailable("on purpose")
        self.known |= {(event_id, user_id): outcome for user_id, outcome in outcomes}
        return None


def ticket(event_id: str, user_id: str) -> TicketIssued:
    return TicketIssued(
        user_id=user_id,
        ticket_id="019c2a6e-0000-7000-8000-000000000000",
        event_id=event_id,
        number=1,
        sequence=1,
        status=TicketStatus.CONFIRMED,
        timestamp=1,
    )


async def test_a_line_that_fails_keeps_no_other_from_being_written() -> None:
    cache = Cache()
    outcomes = Outcomes(cache.remember)
    cache.broken = {"b"}
    await outcomes.add([ticket(event_id, "u") for event_id in ("a", "b", "c")])
    async with outcomes.signals["remembered"].expect(2):
        await outcomes.start()
    async with outcomes.signals["remembered"].expect(1):
        cache.broken = set()
    await outcomes.stop()
    assert {event_id for event_id, _ in cache.known} == {"a", "b", "c"}
    assert cache.calls.count(("a", 1)) == cache.calls.count(("c", 1)) == 1
    assert cache.calls.count(("b", 1)) >= 2


async def test_a_crowd_of_one_line_goes_in_parts() -> None:
    cache = Cache()
    outcomes = Outcomes(cache.remember)
    users = [f"u{i}" for i in range(2 * PER_CALL + 1)]
    await outcomes.add([ticket("a", user_id) for user_id in users] + [ticket("b", "u")])
    async with outcomes.signals["remembered"].expect(len(users) + 1):
        await outcomes.start()
    await outcomes.stop()
    assert sorted(cache.calls) == [("a", 1), ("a", PER_CALL), ("a", PER_CALL), ("b", 1)]
    assert len(cache.known) == len(users) + 1
