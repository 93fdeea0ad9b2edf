"""The line and its admission on a real Valkey and a real PostgreSQL."""

from __future__ import annotations

import asyncio
import time

import pytest

from fairgate.admission.admit import BLOCKED_S, TOGETHER_MAX
from fairgate.admission.owner import Owned
from fairgate.admission.pace import Bound
from fairgate.domain.line import LineState, generation_of
from fairgate.domain.place import Place, Status
from fairgate.errors import LineNotOpen, StaleEpoch, UnknownLine
from fairgate.lifecycle import Signal
from fairgate.stores.claims import ClaimStore
from tests.conftest import Servers
from tests.support.line import Fans, Gatekeeper, gatekeeper


async def until(signal: Signal, count: int, within_s: float = 20.0) -> None:
    async with signal.expect(max(0, count - signal.count), within_s):
        pass


async def test_positions_follow_the_order_of_the_joins(crowd: Fans, keeper: Gatekeeper, event_id: str) -> None:
    await crowd.create(event_id, state=LineState.PAUSED)
    places = [await crowd.join(event_id, f"u{i}") for i in range(5)]
    assert [place.position for place in places] == [1, 2, 3, 4, 5]
    sequences = [place.sequence or 0 for place in places]
    assert sequences == sorted(set(sequences))
    assert generation_of(sequences[0]) == crowd.book.get(event_id).generation


async def test_a_thousand_joins_of_one_user_give_one_place(crowd: Fans, keeper: Gatekeeper, event_id: str) -> None:
    await crowd.create(event_id, state=LineState.PAUSED)
    places = await asyncio.gather(*(crowd.join(event_id, "same") for _ in range(1000)))
    assert {(place.sequence, place.position) for place in places} == {(places[0].sequence, 1)}
    assert (await crowd.position(event_id, "same")).size == 1


async def test_who_leaves_and_joins_again_stands_at_the_tail(crowd: Fans, keeper: Gatekeeper, event_id: str) -> None:
    await crowd.create(event_id, state=LineState.PAUSED)
    first = await crowd.join(event_id, "a")
    await crowd.join(event_id, "b")
    left = await crowd.queue.leave(event_id, "a")
    assert (left.status, left.sequence) == (Status.LEFT, first.sequence)
    assert (await crowd.position(event_id, "b")).position == 1
    again = await crowd.join(event_id, "a")
    assert again.position == 2
    assert again.sequence is not None and first.sequence is not None and again.sequence > first.sequence


async def test_who_never_joined_has_no_place(crowd: Fans, keeper: Gatekeeper, event_id: str) -> None:
    await crowd.create(event_id)
    assert (await crowd.position(event_id, "nobody")).status is Status.NONE
    assert (await crowd.queue.leave(event_id, "nobody")).status is Status.NONE
    with pytest.raises(UnknownLine):
        await crowd.join("no-such-event", "a")


async def test_a_scheduled_line_lets_nobody_in(crowd: Fans, keeper: Gatekeeper, event_id: str) -> None:
    await crowd.create(event_id, state=LineState.SCHEDULED)
    with pytest.raises(LineNotOpen):
        await crowd.join(event_id, "early")


async def test_numbers_follow_the_sequences_and_the_outbox_has_each_once(
    crowd: Fans, keeper: Gatekeeper, event_id: str
) -> None:
    await crowd.create(event_id, rate=100_000, burst=100_000)
    await asyncio.gather(*(crowd.join(event_id, f"u{i}") for i in range(2_500)))
    await until(keeper.admission.signals["admitted"], 2_500)
    rows = await admissions(crowd, event_id)
    assert len(rows) == 2_500
    assert [row["number"] for row in rows] == list(range(1, 2_501))
    assert [row["sequence"] for row in rows] == sorted(row["sequence"] for row in rows)
    async with crowd.database.connection() as connection:
        named = await connection.fetch(
            "select first, count from outbox, unnest(keys, first_numbers, counts) as r (event_id, first, count)"
            " where event_id = $1 order by id",
            event_id,
        )
    numbers = [row["first"] + i for row in named for i in range(row["count"])]
    assert numbers == list(range(1, 2_501))


async def test_joining_again_after_the_admission_returns_the_same_place(
    crowd: Fans, keeper: Gatekeeper, event_id: str
) -> None:
    await crowd.create(event_id)
    first = await crowd.join(event_id, "a")
    await until(keeper.admission.signals["admitted"], 1)
    again = await crowd.join(event_id, "a")
    assert (again.status, again.sequence, again.position) == (Status.ADMITTED, first.sequence, None)
    assert (await crowd.queue.leave(event_id, "a")).status is Status.ADMITTED


async def test_no_more_are_admitted_than_tickets_remain(crowd: Fans, keeper: Gatekeeper, event_id: str) -> None:
    await crowd.create(event_id, rate=10_000, burst=10_000, capacity=7)
    await asyncio.gather(*(crowd.join(event_id, f"u{i}") for i in range(20)))
    await until(keeper.admission.signals["admitted"], 7)
    assert len(await admissions(crowd, event_id)) == 7
    assert [(await crowd.position(event_id, f"u{i}")).status for i in (6, 7)] == [Status.ADMITTED, Status.WAITING]


async def test_when_all_tickets_are_final_who_waits_is_told(crowd: Fans, keeper: Gatekeeper, event_id: str) -> None:
    await crowd.create(event_id, rate=10_000, burst=10_000, capacity=3)
    await asyncio.gather(*(crowd.join(event_id, f"u{i}") for i in range(10)))
    await until(keeper.admission.signals["admitted"], 3)
    async with keeper.admission.signals["departed"].expect(7), crowd.database.transaction() as connection:
        await connection.execute("update tallies set issued = 3, confirmed = 3 where event_id = $1", event_id)
    assert (await crowd.position(event_id, "u9")).status is Status.SOLD_OUT
    async with crowd.database.connection() as connection:
        told = await connection.fetch(
            "select unnest(keys) as user_id from outbox where topic = 'notification' and payload like '%' || $1 || '%'",
            event_id,
        )
    assert sorted(row["user_id"] for row in told) == [f"u{i}" for i in range(3, 10)]


async def test_a_ticket_that_comes_back_opens_a_sold_out_line_again(
    crowd: Fans, keeper: Gatekeeper, event_id: str
) -> None:
    await crowd.create(event_id, rate=1_000, capacity=1)
    await crowd.join(event_id, "first")
    await until(keeper.admission.signals["admitted"], 1)
    await crowd.join(event_id, "second")
    async with keeper.admission.signals["departed"].expect(1), crowd.database.transaction() as connection:
        await connection.execute("update tallies set issued = 1, confirmed = 1 where event_id = $1", event_id)
    assert (await crowd.join(event_id, "late")).status is Status.SOLD_OUT
    async with keeper.admission.signals["admitted"].expect(1):
        async with crowd.database.transaction() as connection:
            await connection.execute("update tallies set confirmed = 0, cancelled = 1 where event_id = $1", event_id)
            await connection.execute("update inventory set reserved = 0 where event_id = $1", event_id)
            await connection.execute("select pg_notify('fairgate_lines', $1)", event_id)
        while crowd.book.get(event_id).sold_out:
            async with crowd.book.signals["changed"].expect(1):
                pass
        await until_waiting(crowd, event_id, "second")
    assert (await crowd.position(event_id, "second")).status is Status.ADMITTED


async def until_waiting(crowd: Fans, event_id: str, user_id: str) -> None:
    """The owner carries a change to Valkey just after SQL has it."""
    async with asyncio.timeout(30):
        while (await crowd.join(event_id, user_id)).status is Status.SOLD_OUT:
            async with crowd.book.signals["read"].expect(1):
                crowd.book.wake.set()


async def test_closing_a_line_tells_who_waits(crowd: Fans, keeper: Gatekeeper, event_id: str) -> None:
    await crowd.create(event_id, state=LineState.PAUSED)
    await crowd.join(event_id, "a")
    async with keeper.admission.signals["departed"].expect(1):
        await crowd.lines.close(event_id)
    assert (await crowd.position(event_id, "a")).status is Status.CLOSED


async def waits_after_an_unanswered_leave(crowd: Fans, event_id: str, user_id: str) -> None:
    """`Queue.leave` has kept it where Kafka does not take it, and died: the user still waits, in a paused line."""
    await crowd.create(event_id, state=LineState.PAUSED)
    place = await crowd.join(event_id, user_id)
    await crowd.queue._keep_leave(event_id, user_id, place.sequence or 0)


async def test_a_leave_that_was_not_answered_keeps_nobody_from_a_ticket(
    crowd: Fans, keeper: Gatekeeper, event_id: str
) -> None:
    await waits_after_an_unanswered_leave(crowd, event_id, "a")
    async with keeper.admission.signals["admitted"].expect(1):
        await crowd.lines.open(event_id)
    assert [row["user_id"] for row in await admissions(crowd, event_id)] == ["a"]


async def test_who_waits_after_a_leave_that_was_not_answered_is_told_of_the_end(
    crowd: Fans, keeper: Gatekeeper, event_id: str
) -> None:
    await waits_after_an_unanswered_leave(crowd, event_id, "a")
    async with keeper.admission.signals["departed"].expect(1):
        await crowd.lines.close(event_id)
    async with crowd.database.connection() as connection:
        assert await connection.fetchval("select reason from departures where event_id = $1", event_id) == "closed"
        assert (
            await connection.fetchval("select count(*) from outbox where payload like '%' || $1 || '%'", event_id) == 1
        )
    assert (await crowd.position(event_id, "a")).status is Status.CLOSED


async def test_claims_of_a_process_that_died_are_admitted_by_the_next(
    servers: Servers, crowd: Fans, event_id: str
) -> None:
    async with gatekeeper(servers.postgres_dsn, servers.valkey_url) as dead:
        line = await crowd.create(event_id, state=LineState.PAUSED)
        places = [await crowd.join(event_id, f"u{i}") for i in range(10)]
        claimed = await ClaimStore(dead.store).claim(line, dead.shards.epochs[line.shard], 4)
        assert [claim.user_id for claim in claimed.claims] == ["u0", "u1", "u2", "u3"]
    async with gatekeeper(servers.postgres_dsn, servers.valkey_url) as next_one:
        async with next_one.admission.signals["admitted"].expect(10):
            await crowd.lines.open(event_id)
        rows = await admissions(crowd, event_id)
    assert [row["sequence"] for row in rows] == [place.sequence for place in places]


async def test_an_old_owner_that_wakes_up_moves_nobody(servers: Servers, crowd: Fans, event_id: str) -> None:
    async with gatekeeper(servers.postgres_dsn, servers.valkey_url) as old:
        line = await crowd.create(event_id, state=LineState.PAUSED)
        await crowd.join(event_id, "a")
        epoch = old.shards.epochs[line.shard]
    async with gatekeeper(servers.postgres_dsn, servers.valkey_url) as new:
        while new.owner.get(event_id) is None:
            async with new.owner.prepared.expect(1):
                pass
        with pytest.raises(StaleEpoch):
            await ClaimStore(crowd.store).claim(line, epoch, 1)
        with pytest.raises(StaleEpoch):
            async with crowd.database.connection() as connection:
                await connection.fetch(
                    "select * from admit($1, $2, $3, $4, $5)", [f"lines:{line.shard}"], [epoch], [event_id], ["a"], [1]
                )
    assert await admissions(crowd, event_id) == []


async def test_a_ticket_that_comes_back_goes_to_the_next_in_line(
    crowd: Fans, keeper: Gatekeeper, event_id: str
) -> None:
    await crowd.create(event_id, rate=1_000, capacity=1)
    await crowd.join(event_id, "first")
    await until(keeper.admission.signals["admitted"], 1)
    await crowd.join(event_id, "second")
    async with keeper.admission.signals["admitted"].expect(1), crowd.database.transaction() as connection:
        await connection.execute("update inventory set reserved = 0 where event_id = $1", event_id)
        await connection.execute("select pg_notify('fairgate_lines', $1)", event_id)
    assert (await crowd.position(event_id, "second")).status is Status.ADMITTED


async def test_who_joined_unheard_before_a_claim_is_admitted_in_the_very_next_round(
    servers: Servers, crowd: Fans, event_id: str
) -> None:
    """Only a join into an empty line is told; who came right after must not wait until somebody looks."""
    keeper = Gatekeeper(servers.postgres_dsn, servers.valkey_url)
    await keeper.shards.run_once()
    await crowd.lines.create(event_id, state=LineState.OPEN)
    await keeper.book.refresh()
    await keeper.admission.run_once()
    await crowd.book.refresh()
    for user_id in ("heard", "unheard"):
        await crowd.join(event_id, user_id)
    keeper.admission.someone_joined(event_id)
    assert await keeper.admission.run_once(), "there is more to do at once"
    await keeper.admission.run_once()
    assert len(await admissions(crowd, event_id)) == 2
    await keeper.shards.teardown()
    await keeper.stop()


async def test_a_paused_line_is_left_alone_until_it_is_opened(crowd: Fans, keeper: Gatekeeper, event_id: str) -> None:
    """A thousand paused lines full of people must not be looked at again and again."""
    await crowd.create(event_id, state=LineState.PAUSED)
    await crowd.join(event_id, "a")
    await until_left_alone(keeper, event_id, Bound.OPERATOR, BLOCKED_S)
    async with keeper.admission.signals["admitted"].expect(1, 20):
        await crowd.lines.open(event_id)
    assert (await crowd.position(event_id, "a")).status is Status.ADMITTED


async def until_left_alone(keeper: Gatekeeper, event_id: str, bound: Bound, for_s: float) -> None:
    """Until this bound keeps who waits, and nobody looks at the line again within that time."""
    async with asyncio.timeout(20):
        while not ((owned := keeper.owner.get(event_id)) and owned.bound is bound and due_in_s(owned) > for_s):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def due_in_s(owned: Owned) -> float:
    return owned.due_at - time.monotonic()


async def test_a_line_without_a_token_keeps_no_other_waiting(crowd: Fans, keeper: Gatekeeper, event_id: str) -> None:
    await crowd.create(event_id, rate=0.001, burst=1)
    await crowd.create(f"{event_id}-quick", rate=1_000, burst=10)
    async with keeper.admission.signals["admitted"].expect(1, 20):
        await asyncio.gather(*(crowd.join(event_id, f"u{i}") for i in range(3)))
    async with keeper.admission.signals["admitted"].expect(1, 20):
        await crowd.join(f"{event_id}-quick", "a")
    await until_left_alone(keeper, event_id, Bound.RATE, 100)
    assert len(await admissions(crowd, event_id)) == 1


async def test_more_lines_than_are_admitted_together_lose_nobody(
    crowd: Fans, keeper: Gatekeeper, event_id: str
) -> None:
    """All open at once, so that one round has them all."""
    events = [f"{event_id}-{i}" for i in range(TOGETHER_MAX + 20)]
    for event in events:
        await crowd.lines.create(event, state=LineState.PAUSED, rate=1_000, burst=10)
    for event in events:
        await crowd.until_ready(event)
    await asyncio.gather(*(crowd.join(event, user) for event in events for user in ("a", "b")))
    async with keeper.admission.signals["admitted"].expect(2 * len(events), 60):
        for event in events:
            await crowd.lines.open(event)
    for event in events:
        rows = await admissions(crowd, event)
        assert [(row["number"], row["user_id"]) for row in rows] == [(1, "a"), (2, "b")]


async def test_the_rate_is_kept_over_a_window(crowd: Fans, keeper: Gatekeeper, event_id: str) -> None:
    rate, burst = 200.0, 20
    await crowd.create(event_id, rate=rate, burst=burst)
    await asyncio.gather(*(crowd.join(event_id, f"u{i}") for i in range(300)))
    await until(keeper.admission.signals["admitted"], 300)
    times = [row["admitted_at"].timestamp() for row in await admissions(crowd, event_id)]
    for start in range(0, 300, 7):
        for end in range(start, 300, 11):
            assert end - start + 1 <= rate * (times[end] - times[start]) + burst + 0.01, "floats are no whole numbers"


async def test_the_place_of_a_user_is_asked_of_sql_where_valkey_forgot(
    crowd: Fans, keeper: Gatekeeper, event_id: str
) -> None:
    await crowd.create(event_id)
    place: Place = await crowd.join(event_id, "a")
    await until(keeper.admission.signals["admitted"], 1)
    await crowd.store.channel.command("DEL", crowd.store.keys(event_id).outcomes)
    known = await crowd.position(event_id, "a")
    assert (known.status, known.sequence) == (Status.ADMITTED, place.sequence)


async def admissions(crowd: Fans, event_id: str) -> list[dict[str, object]]:
    async with crowd.database.connection() as connection:
        rows = await connection.fetch("select * from admissions where event_id = $1 order by number", event_id)
    return [dict(row) for row in rows]
