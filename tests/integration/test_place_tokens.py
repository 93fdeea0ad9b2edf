"""What a placeToken brings back, and what it does not (F9)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from fairgate.domain.line import LineState, generation_of
from fairgate.domain.place import PlaceSigner, Status
from fairgate.local.supervisor import Stack
from fairgate.streams.journal import JournalReader
from tests.conftest import Servers
from tests.servers import own_stores
from tests.support.journal import journaling, until_empty
from tests.support.line import SIGNER, fans, gatekeeper
from tests.support.night import Night, night_at


@pytest.fixture(scope="module")
def stack(servers: Servers) -> Iterator[Stack]:
    """Stores of our own: they are wiped."""
    with own_stores(servers.config) as stack:
        yield stack


@pytest.fixture
async def night(stack: Stack) -> AsyncIterator[Night]:
    async with night_at(stack) as night:
        yield night


class Lost:
    """A line with `early` in the journal and `late`, whose joins were lost with the server. Sequences by user."""

    def __init__(self, night: Night, event_id: str, early: dict[str, int], late: dict[str, int]) -> None:
        self.night, self.event_id, self.early, self.late = night, event_id, early, late

    def token(self, user_id: str, sequence: int | None = None, signer: PlaceSigner = SIGNER) -> str:
        return signer.sign(self.event_id, user_id, sequence or (self.early | self.late)[user_id])

    async def order(self) -> list[str]:
        return [name for name, _ in await self.night.members(self.event_id)]


@pytest.fixture
async def lost(night: Night, event_id: str) -> Lost:
    """Nothing reads the journal after the early ones: Kafka never hears of the late ones."""
    names = await night.fill(event_id, 5)
    early = dict(await night.members(event_id))
    assert list(early) == names
    await night.journal.stop()
    late = {name: (await night.crowd.join(event_id, name)).sequence or 0 for name in ("l0", "l1", "l2")}
    await night.flushed(event_id)
    return Lost(night, event_id, early, late)


async def test_a_lost_place_comes_back_in_its_order(lost: Lost) -> None:
    crowd = lost.night.crowd
    newcomer = await crowd.join(lost.event_id, "newcomer")
    for user_id in ("l2", "l0"):
        place = await crowd.join(lost.event_id, user_id, lost.token(user_id))
        assert (place.status, place.sequence) == (Status.WAITING, lost.late[user_id])
    assert await lost.order() == [*lost.early, "l0", "l2", "newcomer"]
    again = await crowd.join(lost.event_id, "l0", lost.token("l0"))
    assert (again.sequence, again.position) == (lost.late["l0"], 6)
    assert generation_of(newcomer.sequence or 0) == generation_of(lost.late["l0"]) + 1


async def test_places_that_came_back_are_counted_apart_and_journaled(lost: Lost) -> None:
    night = lost.night
    for user_id in lost.late:
        await night.crowd.join(lost.event_id, user_id, lost.token(user_id))
    async with asyncio.timeout(30):
        while (row := await night.recovery(lost.event_id))["by_token"] < 3:  # a sweep may come between two joins
            async with night.keeper.owner.counted.expect(1):
                night.keeper.owner.sweep_soon()
                night.keeper.admission.wake.set()
    assert (row["by_journal"], row["by_token"]) == (5, 3)
    assert row["watermark"] == max(lost.early.values())
    async with journaling(night.config) as journal:
        await until_empty(journal, night.crowd.store, lost.event_id)
    await night.flushed(lost.event_id)
    assert await lost.order() == [*lost.early, *lost.late]


async def test_a_token_after_a_leave_brings_nothing_back(lost: Lost) -> None:
    crowd, token = lost.night.crowd, lost.token("l0")
    await crowd.join(lost.event_id, "l0", token)
    await crowd.queue.leave(lost.event_id, "l0")
    place = await crowd.join(lost.event_id, "l0", token)
    assert (place.sequence or 0) > max(lost.late.values()) and place.position == 6


async def test_a_token_after_a_leave_brings_nothing_back_after_the_next_wipe_either(lost: Lost) -> None:
    """The cache that knew of the leave is gone as well: the journal knows."""
    night, token = lost.night, lost.token("l0")
    await night.crowd.join(lost.event_id, "l0", token)
    await night.crowd.queue.leave(lost.event_id, "l0")
    async with journaling(night.config) as journal:
        await until_empty(journal, night.crowd.store, lost.event_id)
    await night.flushed(lost.event_id)
    place = await night.crowd.join(lost.event_id, "l0", token)
    assert (place.sequence or 0) > max(lost.late.values())
    back = await night.crowd.join(lost.event_id, "l1", lost.token("l1"))
    assert back.sequence == lost.late["l1"]


async def test_a_token_of_who_was_admitted_brings_nothing_back(lost: Lost) -> None:
    night, token = lost.night, lost.token("l0")
    await night.crowd.join(lost.event_id, "l0", token)
    async with night.keeper.admission.signals["admitted"].expect(6):
        await night.crowd.lines.change(lost.event_id, rate=1_000, burst=1_000, state=LineState.OPEN.value)
    await night.flushed(lost.event_id)
    place = await night.crowd.join(lost.event_id, "l0", token)
    assert (place.status, place.sequence) == (Status.ADMITTED, lost.late["l0"])


@pytest.mark.parametrize("kind", ["forged", "another's", "of another event", "of another key", "nonsense", "empty"])
async def test_a_token_that_is_not_genuine_is_as_good_as_none(lost: Lost, kind: str) -> None:
    token = {
        "forged": lost.token("l0")[:-1] + ("0" if lost.token("l0")[-1] != "0" else "1"),
        "another's": lost.token("l1"),
        "of another event": SIGNER.sign("another-event", "l0", lost.late["l0"]),
        "of another key": lost.token("l0", signer=PlaceSigner(b"a key that is not the site's own")),
        "nonsense": "p1.x.99999999999999999999.y",
        "empty": "",
    }[kind]
    place = await lost.night.crowd.join(lost.event_id, "l0", token)
    assert (place.position, place.sequence not in lost.late.values()) == (6, True)


async def test_a_token_that_is_not_above_the_mark_brings_nothing_back(lost: Lost) -> None:
    """Its place was in the journal: who is not there has left it."""
    place = await lost.night.crowd.join(lost.event_id, "stranger", lost.token("stranger", max(lost.early.values())))
    assert place.position == 6


async def test_a_token_of_this_generation_brings_nothing_back(lost: Lost) -> None:
    crowd = lost.night.crowd
    first = await crowd.join(lost.event_id, "new")
    await crowd.queue.leave(lost.event_id, "new")
    again = await crowd.join(lost.event_id, "new", lost.token("new", first.sequence))
    assert (again.sequence or 0) > (first.sequence or 0)


async def test_a_lost_place_comes_back_though_the_line_was_closed_and_is_told_so(lost: Lost) -> None:
    night = lost.night
    await night.crowd.lines.close(lost.event_id)
    async with night.keeper.admission.signals["departed"].expect(1):
        place = await night.crowd.join(lost.event_id, "l0", lost.token("l0"))
    assert place.sequence == lost.late["l0"]
    assert (await night.crowd.position(lost.event_id, "l0")).status is Status.CLOSED


async def test_in_the_grace_time_who_shows_a_token_is_admitted_before_who_came_later(
    stack: Stack, event_id: str
) -> None:
    servers = Servers(stack.config)
    dsn, url = servers.postgres_dsn, servers.valkey_url
    reader = JournalReader(stack.config)
    async with fans(dsn, url) as crowd, gatekeeper(dsn, url, journal=reader, grace_s=3_600) as keeper:
        await crowd.create(event_id, rate=1_000, burst=1_000, state=LineState.PAUSED)
        night = Night(crowd, keeper, None, stack.config)  # type: ignore[arg-type]
        sequence = (await crowd.join(event_id, "lost")).sequence or 0
        await night.flushed(event_id)
        await crowd.lines.open(event_id)
        await crowd.join(event_id, "later")
        await crowd.join(event_id, "lost", SIGNER.sign(event_id, "lost", sequence))
        # Opening prepares the line once more: what is held until then is not the one that admits.
        while (owned := keeper.owner.get(event_id)) is None or owned.line.state is not LineState.OPEN:
            async with keeper.owner.prepared.expect(1):
                pass
        async with keeper.admission.signals["admitted"].expect(2):
            owned.held_until = 1e-9
            keeper.admission.wake.set()
        async with crowd.database.connection() as connection:
            rows = await connection.fetch(
                "select user_id from admissions where event_id = $1 order by number", event_id
            )
    assert [row["user_id"] for row in rows] == ["lost", "later"]
