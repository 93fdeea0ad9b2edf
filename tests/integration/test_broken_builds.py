"""The checker must itself fail: ten builds that are broken on purpose, each run for real, and each found.

Every build meets the same small crowd on the same servers as the sound one, with one part replaced here. What it broke
is the invariant that the verdict names, with the user and the step where the trail ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from fairgate import stores
from fairgate.checker.verdict import Verdict
from fairgate.crowd.fan import Fan
from fairgate.demo.crowd import Traits, traits
from fairgate.errors import Unavailable
from fairgate.http.live import LiveServer
from fairgate.outbox import relay
from fairgate.stores.inbox import InboxStore
from fairgate.stores.outbox import OutboxRow, OutboxStore
from fairgate.stores.tickets import SettledBefore, TicketStore
from fairgate.streams import consumer, transaction
from fairgate.ticketing import settle
from fairgate.ticketing.publishing import Publishing
from tests.conftest import Servers
from tests.support.broken import DIED
from tests.support.house import PATIENCE_S, House, crowd, house, until

FANS = traits(fans=30, listeners=10, seed=7)
CAPACITY = 25
ROLES = ("live", "notification", "ticketing", "relay", "admission", "api")


@pytest.fixture
async def site(servers: Servers) -> AsyncIterator[House]:
    async with house(servers.config) as made:
        yield made


def without(*roles: str) -> list[str]:
    return [role for role in ROLES if role not in roles]


def broken(verdict: Verdict) -> set[str]:
    return {line.name for line in verdict.lines if not line.kept}


def says(verdict: Verdict, line: str, *words: str) -> bool:
    """One of the findings has all of these words."""
    return any(all(word in finding for word in words) for finding in verdict.line(line).examples)


# ---- the sound build


async def test_the_sound_build_passes_also_where_records_come_twice(
    site: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_once_what_was_sent(site, monkeypatch)
    await site.start(*ROLES)
    async with crowd(site, capacity=CAPACITY) as fans:
        await fans.come(FANS)
        await fans.admit()
        await fans.until_done()
        verdict = await fans.verdict()
    assert verdict.right, verdict.text()
    assert verdict.facts.tickets == CAPACITY
    assert verdict.facts.repeats_in_log > 0


def forget_once_what_was_sent(site: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the relay died between Kafka and SQL, and somebody was settled before its successor sent it all again."""
    mark_sent, forgotten = OutboxStore.mark_sent, False

    async def forgetful(self: OutboxStore, connection: Any, row_ids: Sequence[int]) -> None:
        nonlocal forgotten
        if not forgotten and await connection.fetchval(
            "select bool_or(topic = 'ticket-issue') from outbox where id = any($1)", row_ids
        ):
            forgotten = True
            await until_sql(connection, "select count(*) > 0 from tickets")
            raise Unavailable("the relay died")
        await mark_sent(self, connection, row_ids)

    monkeypatch.setattr(OutboxStore, "mark_sent", forgetful)


# ---- ten broken ones


async def test_1_a_dropped_ticket_is_found(site: House, monkeypatch: pytest.MonkeyPatch) -> None:
    sound, victim = TicketStore.settle, ""

    async def drop_one(self: TicketStore, orders: Any) -> Any:
        rest = iter(await sound(self, [order for order in orders if order.issue.user_id != victim]))
        return [SettledBefore() if order.issue.user_id == victim else next(rest) for order in orders]

    monkeypatch.setattr(TicketStore, "settle", drop_one)
    await site.start(*ROLES)
    async with crowd(site, capacity=None) as fans:
        unlucky = (await fans.come(FANS))[3]
        victim = unlucky.history.user_id
        await fans.admit()
        await fans.until_done(unlucky)
        verdict = await fans.verdict()
    assert broken(verdict) == {"lost", "untold", "books"}
    assert says(verdict, "lost", victim, "[settle, ticket-issue-")


async def test_2_two_that_are_swapped_are_found(site: House, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = relay._records

    def swapped(row: OutboxRow) -> Any:
        records = list(sound(row))
        if row.topic == "ticket-issue":
            records[:2] = reversed(records[:2])
        return iter(records)

    monkeypatch.setattr(relay, "_records", swapped)
    await site.start(*ROLES)
    async with crowd(site, capacity=CAPACITY) as fans:
        await fans.come(FANS)
        await fans.admit()
        await fans.until_done()
        verdict = await fans.verdict()
    assert broken(verdict) == {"out of order"}
    assert verdict.broken == {"I3"}
    assert says(verdict, "out of order", "no. 1 stands behind no. 2", "[ticket-issue, ticket-issue-")


async def test_3_a_doubled_ticket_is_found(site: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settling that looks at nothing and guards nothing: a record that comes again makes a ticket again."""
    await settle_without_looking(site)
    forget_once_what_was_sent(site, monkeypatch)
    await site.start(*ROLES)
    async with crowd(site, capacity=None) as fans:
        await fans.come(FANS)
        await fans.admit()
        await fans.until_done()
        async with site.sql() as sql:
            await until_sql(sql, "select count(*) > $1 from tickets", len(FANS))
        verdict = await fans.verdict()
    assert {"doubled", "oversold", "books"} <= broken(verdict)
    assert {"I2", "I4", "I10"} <= verdict.broken
    assert says(verdict, "doubled", "has 2 live tickets", "[settle")


async def settle_without_looking(site: House) -> None:
    text = (Path(stores.__file__).parent / "functions" / "settle.sql").read_text()
    for careful in ("t.event_id = d.event_id and t.number = d.number",
                    "o.event_id = a.event_id and o.user_id = a.user_id"):  # fmt: skip
        assert text.count(careful) == 1 or careful.startswith("t.")
        text = text.replace(careful, "false", 1)
    async with site.sql() as sql:
        await sql.execute("drop index one_live_ticket; alter table tickets drop constraint "
                          "tickets_event_id_number_key")  # fmt: skip
        await sql.execute(text)


async def test_4_a_skipped_inbox_row_is_found(site: House, monkeypatch: pytest.MonkeyPatch) -> None:
    sound, victim = InboxStore.add_issued, ""

    async def skip_one(self: InboxStore, tickets: Any) -> bool:
        return await sound(self, [ticket for ticket in tickets if ticket.user_id != victim])

    monkeypatch.setattr(InboxStore, "add_issued", skip_one)
    await site.start(*ROLES)
    async with crowd(site, capacity=None) as fans:
        unlucky = (await fans.come(FANS))[5]
        victim = unlucky.history.user_id
        await fans.admit()
        await fans.until_done(unlucky)
        await until(lambda: bool(unlucky.history.end))
        verdict = await fans.verdict()
    assert broken(verdict) == {"untold"}
    assert says(verdict, "untold", victim, "not in the inbox", "[inbox, ticket-issued-")


async def test_5_offsets_committed_before_the_effect_are_found(site: House) -> None:
    await site.start(*without("notification"))
    async with crowd(site, capacity=None) as fans:
        await fans.come(FANS)
        await fans.admit()
        assert await site.until_it_dies("notification", "commit_before_the_effect") == DIED
        await site.start("notification")
        await until(lambda: all(fan.history.end for fan in fans.fans))
        (late,) = await fans.come([Traits()])
        await until(lambda: late.history.done)
        verdict = await fans.verdict()
    assert broken(verdict) == {"untold"}
    assert says(verdict, "untold", "not in the inbox", "[inbox, ticket-issued-")


async def test_6_who_is_popped_before_the_claim_is_found(site: House) -> None:
    await site.start(*ROLES)
    async with crowd(site, capacity=None, burst=10) as fans:
        await fans.come(FANS)
        await site.stop("admission")
        await fans.admit()
        assert await site.until_it_dies("admission", "pop_before_the_claim") == DIED
        await site.start("admission")
        await fans.until_done()
        verdict = await fans.verdict()
    assert {"lost", "doubled"} <= broken(verdict)
    assert verdict.line("lost").wrong == 10
    assert says(verdict, "lost", "had a place, and was told 'none'", "[claim, place ")


async def test_7_a_relay_that_skips_a_gap_is_found(site: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """It asks for "newer than the last": a row whose number is older and whose commit is later is never sent."""
    sound, last = OutboxStore.oldest_unsent, 0

    async def newer_than_the_last(self: OutboxStore, *args: Any) -> list[OutboxRow]:
        nonlocal last
        rows = [row for row in await sound(self, *args) if row.id > last]
        last = max([last, *(row.id for row in rows)])
        return rows

    monkeypatch.setattr(OutboxStore, "oldest_unsent", newer_than_the_last)
    async with site.sql() as sql, site.sql() as other:
        await site.start(*ROLES)
        await commit_late(sql)
        async with crowd(site, capacity=None) as fans:
            await fans.come(FANS)
            await fans.admit()
            while (writing := await the_late_one(other)) != await after_another_row(other):
                pass
            assert writing is not None
            await sql.execute("select pg_advisory_unlock(4711)")
            await send_another_row(other)
            verdict = await fans.verdict()
    assert {"lost", "books"} <= broken(verdict)
    assert says(verdict, "lost", "joined, and has no end", "[outbox, admissions no. ")


async def commit_late(sql: Any) -> None:
    """Whoever writes orders has the row's number, and commits when this lock is given back."""
    await sql.execute(
        """create function late() returns trigger language plpgsql as $$ begin
               if new.topic = 'ticket-issue' then perform pg_advisory_xact_lock_shared(4711); end if;
               return new;
           end $$;
           create trigger late after insert on outbox for each row execute function late();
           select pg_advisory_lock(4711)"""
    )


async def the_late_one(sql: Any) -> Any:
    """The transaction that waits: since when it runs."""
    waiting = (
        "select min(xact_start) from pg_stat_activity where wait_event = 'advisory' and datname = current_database()"
    )
    await until_sql(sql, f"select ({waiting}) is not null")
    return await sql.fetchval(waiting)


async def after_another_row(sql: Any) -> Any:
    await send_another_row(sql)
    return await the_late_one(sql)


async def send_another_row(sql: Any) -> None:
    """Returns when Kafka has it: so the relay has looked behind every number before it."""
    row = await sql.fetchval(
        """insert into outbox (shard, topic, keys, payload, messages) values (0, 'notification', array['nobody'],
           '{"messageId":"m","userId":"nobody","kind":"news","title":"t","body":"b","timestamp":1}', 1) returning id"""
    )
    await until_sql(sql, "select sent_at is not null from outbox where id = $1", row)


async def test_8_one_shared_transactional_id_is_found(site: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replicas lock each other out for ever: whenever one is about to commit, another has just begun."""
    begun = 0

    def another_begins(*_: Any) -> bool:
        nonlocal begun
        begun += 1
        name = f"{site.config.topic_prefix}{settle.TRANSACTIONAL_ID}-0"
        replica = Producer(transaction.settings(site.config, name))
        replica.init_transactions(30.0)
        return True

    monkeypatch.setattr(Publishing, "_all_ours", another_begins)
    await site.start(*ROLES)
    async with crowd(site, capacity=None) as fans:
        await fans.come(FANS)
        await fans.admit()
        await until(lambda: all(fan.history.end for fan in fans.fans) and begun >= 2)
        verdict = await fans.verdict()
    assert broken(verdict) == {"untold"}
    assert says(verdict, "untold", "not in the log", "[ticket-issued, tickets ")
    assert verdict.facts.aborted > 0


async def test_9_latest_offsets_are_found(site: House, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = consumer.settings

    def latest(*args: Any, **options: Any) -> dict[str, Any]:
        return {**sound(*args, **options), "auto.offset.reset": "latest"}

    monkeypatch.setattr(consumer, "settings", latest)
    await site.start(*without("ticketing"))
    async with crowd(site, capacity=None) as fans, site.sql() as sql:
        await fans.come(FANS)
        await fans.admit()
        await until_sql(sql, "select count(*) = $1 from admissions", len(FANS))
        await until_sql(sql, "select count(*) = 0 from outbox where sent_at is null")
        await site.start("ticketing")
        await until_one_is_served(fans.come, fans.fans)
        verdict = await fans.verdict()
    assert {"lost", "untold", "books"} <= broken(verdict)
    assert verdict.line("lost").wrong >= len(FANS)
    assert says(verdict, "lost", "joined, and has no end", "[settle, ticket-issue-")


async def until_one_is_served(come: Any, fans: list[Fan]) -> None:
    """The group works. Who comes while it looks for the end of the topic may be passed over as well."""
    served = len(fans)
    async with asyncio.timeout(PATIENCE_S):
        while not any(fan.history.done for fan in fans[served:]):
            await come([Traits()])
            await asyncio.sleep(1.0)


async def test_10_a_room_by_user_id_is_found(site: House, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = LiveServer._connect

    async def into_any_room(self: LiveServer, sid: str, environ: Any, auth: Any = None) -> bool:
        welcome = await sound(self, sid, environ, auth)
        if welcome and "userId" in auth:
            await self.wire.enter(sid, auth["userId"])
        return welcome

    monkeypatch.setattr(LiveServer, "_connect", into_any_room)
    await site.start(*ROLES)
    async with crowd(site, capacity=None) as fans:
        victim = next(fan for fan in await fans.come(FANS) if fan.history.listens)
        (spy,) = await fans.come([Traits(listens=True)], userId=victim.history.user_id)
        await fans.admit()
        await until(lambda: bool(victim.history.told) and bool(spy.history.told))
        await fans.until_done(victim, spy)
        verdict = await fans.verdict()
    assert "overheard" in broken(verdict)
    assert "F16" in verdict.broken
    assert says(verdict, "overheard", spy.history.user_id, f"was shown the ticket of {victim.history.user_id}")


async def until_sql(sql: Any, question: str, *arguments: Any) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await sql.fetchval(question, *arguments):  # noqa: ASYNC110 - others' work: nobody calls
            await asyncio.sleep(0.02)
