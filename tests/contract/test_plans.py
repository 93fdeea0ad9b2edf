"""The first crowd of a new database: a process keeps the plans that it made when there was next to nothing, and no
statistics say yet what has come since. No statement of the flow may read a table whole for that.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import pytest

from fairgate.config import SHARDS
from fairgate.domain.messages import TicketIssue, TicketIssued
from fairgate.domain.ticket import TicketStatus
from fairgate.stores.database import Database
from fairgate.stores.inbox import InboxStore, Name
from fairgate.stores.lines import LineBook
from fairgate.stores.outbox import OutboxStore
from fairgate.stores.standings import read_standings
from fairgate.stores.tickets import Issued, SettledBefore, TicketStore
from fairgate.ticketing.orders import fact_of
from tests.conftest import Servers
from tests.support.house import own_database
from tests.support.ticketing import FIRST, Books, orders_from

EVENT, LEASE = "on-sale", "probe"
TABLES = ("lines", "inventory", "tallies", "admissions", "departures", "tickets", "notifications", "tickets_told")
CROWD, BATCH = 10_000, 500
# Of a row that is asked for: its own, what it is checked against, and some that a page's split brings along.
READS_MAX = 30

Statement = Callable[["Desk", Sequence[Issued]], Awaitable[object]]


class Past(NamedTuple):
    """What was there when a process made its plans."""

    before: int
    analyzed: bool = False


class Desk:
    """The stores as one process has them, over one connection."""

    def __init__(self, database: Database, joined: int) -> None:
        self.database = database
        self.tickets, self.inbox = TicketStore(database), InboxStore(database)
        self._joined = joined

    async def open(self) -> None:
        await Books(self.database).event(EVENT)
        async with self.database.connection() as sql:
            await sql.execute("update lines set rate = 1000000, burst = 1000000")
            await sql.execute("update inventory set tokens = 1000000")
            await sql.execute("insert into leases (name, owner, until) values ($1, 'us', 'infinity')", LEASE)
            for table in TABLES:
                await sql.execute(f"alter table {table} set (autovacuum_enabled = off)")
            # Who summarizes a range reads it, and would be counted.
            for index in ("admissions_by_time", "tickets_by_time", "notifications_by_age", "tickets_told_by_age"):
                await sql.execute(f"alter index {index} set (autosummarize = off)")

    async def analyze(self) -> None:
        async with self.database.connection() as sql:
            await sql.execute("analyze")

    async def join(self, count: int) -> list[TicketIssue]:
        """Up to the admission."""
        users = [f"u{self._joined + i}" for i in range(count)]
        sequences = [FIRST + self._joined + i for i in range(count)]
        self._joined += count
        rows = await self.admit(users, sequences)
        assert {row["outcome"] for row in rows} == {"admitted"}
        rows.sort(key=lambda row: row["number"])
        return [issue_of(row["user_id"], row["sequence"], row["number"]) for row in rows]

    async def admit(self, users: list[str], sequences: list[int]) -> list[Any]:
        async with self.database.connection() as sql:
            rows: list[Any] = await self.database.queries.admit(
                sql, leases=[LEASE], epochs=[1], events=[EVENT] * len(users), users=users, sequences=sequences
            )
        return rows

    async def serve(self, count: int, batch: int) -> list[Issued]:
        """From the claim to the inbox."""
        issued: list[Issued] = []
        for _ in range(0, count, batch):
            outcomes = await self.tickets.settle(orders_from(await self.join(batch)))
            some = [outcome for outcome in outcomes if isinstance(outcome, Issued)]
            assert len(some) == batch
            facts = in_order(some)
            assert await self.inbox.add_issued(facts)
            issued += some
        return issued

    async def rows_read(self) -> int:
        """In all tables of this database, by whichever way, so far."""
        async with self.database.connection() as sql:
            await sql.execute("select pg_stat_force_next_flush()")
            return int(
                await sql.fetchval(
                    "select (select sum(seq_tup_read) from pg_stat_user_tables)"
                    " + (select sum(idx_tup_read) from pg_stat_user_indexes)"
                )
            )


@asynccontextmanager
async def desk_at(dsn: str, joined: int = 0) -> AsyncIterator[Desk]:
    database = Database(dsn, size=1)
    try:
        yield Desk(database, joined)
    finally:
        await database.close()


def issue_of(user_id: str, sequence: int, number: int) -> TicketIssue:
    return TicketIssue(user_id=user_id, event_id=EVENT, sequence=sequence, number=number, timestamp=1)


def in_order(issued: Sequence[Issued]) -> list[TicketIssued]:
    """As notification keeps them."""
    return sorted((fact_of(it.ticket) for it in issued), key=lambda fact: fact.ticket_id)


def names(issued: Sequence[Issued]) -> list[Name]:
    return [Name(it.ticket.user_id, f"issued:{it.ticket.ticket_id}") for it in issued]


def users_of(issued: Sequence[Issued]) -> list[str]:
    return [it.ticket.user_id for it in issued]


def later(issued: Sequence[Issued]) -> list[int]:
    """The places of who joined once more."""
    return [it.ticket.sequence + (1 << 30) for it in issued]


async def settle_again(desk: Desk, issued: Sequence[Issued]) -> None:
    issues = [issue_of(it.ticket.user_id, it.ticket.sequence, it.ticket.number) for it in issued]
    outcomes = await desk.tickets.settle(orders_from(issues, "another"))
    assert {type(outcome) for outcome in outcomes} == {SettledBefore}


async def keep_again(desk: Desk, issued: Sequence[Issued]) -> None:
    facts = in_order(issued)
    assert not await desk.inbox.add_issued(facts)


async def admit_again(desk: Desk, issued: Sequence[Issued]) -> None:
    """As if each had joined once more."""
    rows = await desk.admit(users_of(issued), later(issued))
    assert {row["outcome"] for row in rows} == {"served"}


async def depart(desk: Desk, issued: Sequence[Issued]) -> None:
    async with desk.database.connection() as sql:
        rows = await desk.database.queries.depart(
            sql,
            lease=LEASE,
            epoch=1,
            shard=0,
            event_id=EVENT,
            users=users_of(issued),
            sequences=later(issued),
            reason="sold_out",
            title="",
            body="",
        )
    assert {row["outcome"] for row in rows} == {"served"}


async def standings(desk: Desk, issued: Sequence[Issued]) -> None:
    async with desk.database.connection() as sql:
        found = await read_standings(desk.database, sql, EVENT, users_of(issued))
    assert {it.ticket.user_id: it.ticket.ticket_id for it in issued} == {
        user: outcome.ticket_id for user, outcome in found.items()
    }


async def tickets_of(desk: Desk, issued: Sequence[Issued]) -> None:
    for it in issued:
        assert [ticket.number for ticket in await desk.tickets.of_user(it.ticket.user_id)] == [it.ticket.number]


async def issue_directly(desk: Desk, issued: Sequence[Issued]) -> None:
    for it in issued:
        assert await desk.tickets.issue_direct(EVENT, it.ticket.user_id, 0) == (it.ticket, False)


async def confirm_again(desk: Desk, issued: Sequence[Issued]) -> None:
    for it in issued:
        _, moved = await desk.tickets.move(it.ticket.ticket_id, it.ticket.user_id, TicketStatus.CONFIRMED)
        assert not moved


async def read_tickets(desk: Desk, issued: Sequence[Issued]) -> None:
    assert len(await desk.inbox.tickets([it.ticket.ticket_id for it in issued])) == len(issued)


async def read_unseen(desk: Desk, issued: Sequence[Issued]) -> None:
    found = await desk.inbox.unseen(users_of(issued), 10)
    assert [owned.user_id for owned in found] == users_of(issued)


async def read_inboxes(desk: Desk, issued: Sequence[Issued]) -> None:
    for it in issued:
        assert len(await desk.inbox.after(it.ticket.user_id, None, 10)) == 1


async def seen_among(desk: Desk, issued: Sequence[Issued]) -> None:
    assert await desk.inbox.seen_among(names(issued)) == set()


async def mark_nothing(desk: Desk, issued: Sequence[Issued]) -> None:
    """Of others: what is marked would not be unseen any more."""
    unknown = [Name(name.user_id, "x") for name in names(issued)]
    of_others = [Name("somebody-else", name.id) for name in names(issued)]
    assert await desk.inbox.mark_seen(unknown + of_others) == set()


async def read_orders(desk: Desk, issued: Sequence[Issued]) -> None:
    """Of a row that is still to be sent: nobody sends here, so it is the first one."""
    async with desk.database.connection() as sql:
        (row,) = await OutboxStore(desk.database).oldest_unsent(sql, range(SHARDS), 1)
    assert b'"number":1,' in row.payloads[0]


STATEMENTS: list[Statement] = [
    settle_again,
    keep_again,
    admit_again,
    depart,
    standings,
    tickets_of,
    issue_directly,
    confirm_again,
    read_tickets,
    read_unseen,
    read_inboxes,
    seen_among,
    mark_nothing,
    read_orders,
]


PASTS = {
    "nearly nothing": Past(before=16),
    "nearly nothing, and statistics of that": Past(before=16, analyzed=True),
    "some thousands of the last hour": Past(before=4_000),
}


@pytest.mark.parametrize("past", PASTS.values(), ids=PASTS.keys())
async def test_no_statement_reads_a_table_whole_for_what_was_there_once(servers: Servers, past: Past) -> None:
    async with own_database(servers.postgres_dsn) as dsn:
        async with desk_at(dsn) as desk:
            await desk.open()
            served = await desk.serve(past.before, 2 if past.analyzed else 8)
            if past.analyzed:
                await desk.analyze()
        async with desk_at(dsn, joined=past.before) as desk:
            reads = await reads_of_the_crowd(desk, served)
    assert {what: count for what, count in reads.items() if count > READS_MAX} == {}


async def reads_of_the_crowd(desk: Desk, served: Sequence[Issued]) -> dict[str, float]:
    """Rows read for each that was asked for, by plans that are kept from before."""
    await desk.serve(8, 1)
    for statement in STATEMENTS:
        for _ in range(8):
            await statement(desk, served[:2])

    before = await desk.rows_read()
    issued = await desk.serve(CROWD, BATCH)
    reads = {"from the claim to the inbox": (await desk.rows_read() - before) / CROWD}
    some = issued[2_000:2_020]
    for statement in STATEMENTS:
        before = await desk.rows_read()
        await statement(desk, some)
        reads[statement.__name__] = (await desk.rows_read() - before) / len(some)
    return reads


# A thousand lines leave a row each in the outbox, which stay for minutes after they were sent. From the sixth time on a
# plan for any shards, age and limit may be kept.
TIMES = 10


async def test_the_relay_reads_what_is_unsent_and_not_what_was_sent(servers: Servers) -> None:
    async with own_database(servers.postgres_dsn) as dsn, desk_at(dsn) as desk:
        await fill_the_outbox(desk, sent=CROWD, unsent=100)
        outbox = OutboxStore(desk.database)
        for _ in range(TIMES):
            before = await desk.rows_read()
            async with desk.database.connection() as sql:
                assert len(await outbox.oldest_unsent(sql, range(SHARDS), 1_000)) == 100
            assert await desk.rows_read() - before < 100 * READS_MAX


async def test_who_forgets_what_was_sent_long_ago_reads_no_more_than_that(servers: Servers) -> None:
    async with own_database(servers.postgres_dsn) as dsn, desk_at(dsn) as desk:
        await fill_the_outbox(desk, sent=CROWD, unsent=100)
        outbox, old = OutboxStore(desk.database), 100
        for _ in range(TIMES):
            before = await desk.rows_read()
            assert await outbox.prune(600.0, old) == 0
            assert await desk.rows_read() - before < old
        async with desk.database.connection() as sql:
            await sql.execute("update outbox set sent_at = sent_at - interval '1 hour' where id <= $1", old)
        before = await desk.rows_read()
        assert await outbox.prune(600.0, 2 * old) == old
        assert await desk.rows_read() - before < old * READS_MAX


async def test_who_reads_what_has_changed_does_not_read_all_lines(servers: Servers) -> None:
    """Each process does, for each notice: a thousand lines that are opened together must not be a million reads."""
    async with own_database(servers.postgres_dsn) as dsn, desk_at(dsn) as desk:
        async with desk.database.connection() as sql:
            await sql.execute(
                "insert into lines (event_id, shard, state, rate, burst)"
                " select 'l' || n, n % $1, 'open', 1, 1 from generate_series(1, 1000) as n",
                SHARDS,
            )
            await sql.execute("insert into inventory (event_id) select event_id from lines on conflict do nothing")
        await desk.analyze()
        book = LineBook(desk.database)
        await book.refresh()
        for number in range(1, TIMES):
            async with desk.database.connection() as sql:
                await sql.execute("update lines set title = 'changed' where event_id = $1", f"l{number}")
            before = await desk.rows_read()
            await book.refresh()
            assert await desk.rows_read() - before < READS_MAX


async def fill_the_outbox(desk: Desk, *, sent: int, unsent: int) -> None:
    async with desk.database.connection() as sql:
        await sql.execute(
            "insert into outbox (shard, topic, keys, ids, payload, messages, sent_at)"
            " select n % $1, 'ticket-issue', array['u'], array['i'], '{}', 1,"
            " case when n <= $2 then clock_timestamp() end from generate_series(1, $2::bigint + $3) as n",
            *(SHARDS, sent, unsent),
        )
    await desk.analyze()
