"""What was there before a migration that moves rows is there after it, and before it again."""

from __future__ import annotations

import alembic.command
import asyncpg
import pytest
from sqlalchemy.ext.asyncio import create_async_engine

from fairgate.notification.inbox import Inbox
from fairgate.stores import migrate
from fairgate.stores.database import Database
from fairgate.stores.inbox import InboxStore
from fairgate.stores.outbox import OutboxStore
from tests.conftest import Servers
from tests.support.house import own_database
from tests.support.ticketing import ticket_in_sql

FORMER = """
insert into notifications (user_id, id, kind, payload, seen_at) values
    ($1, 'm1', 'test', '{"id": "m1"}', null),
    ($1, 'issued:' || $2, 'ticket:issued', null, '2026-01-01'),
    ($1, 'issued:' || $3, 'ticket:issued', '{"title": "before tickets spoke for themselves"}', null),
    ($1, 'm2', 'test', '{"id": "m2"}', null)
"""


async def downgrade(dsn: str, revision: str) -> None:
    engine = create_async_engine(dsn.replace("postgresql://", "postgresql+asyncpg://", 1))
    async with engine.connect() as connection:
        await connection.run_sync(lambda sync: alembic.command.downgrade(migrate.settings(sync), revision))
        await connection.commit()
    await engine.dispose()


@pytest.mark.asyncio
async def test_the_inbox_rows_of_tickets_move_and_come_back(servers: Servers, user_id: str) -> None:
    async with own_database(servers.postgres_dsn) as dsn:
        database = Database(dsn, size=2)
        seen, unseen = [await ticket_in_sql(database, user_id, f"e{n}", n) for n in (1, 2)]
        await database.close()
        order = ["m1", seen.message_id, unseen.message_id, "m2"]

        await downgrade(dsn, "0014")
        sql = await asyncpg.connect(dsn)
        await sql.execute(FORMER, user_id, seen.ticket_id, unseen.ticket_id)
        await migrate._migrate(dsn)

        database = Database(dsn, size=2)
        inbox = Inbox(InboxStore(database))
        assert [item.id for item in await inbox.list(user_id)] == order
        assert [owned.item.id for owned in await inbox.unseen([user_id])] == ["m1", unseen.message_id, "m2"]
        assert await sql.fetchval("select count(*) from notifications") == 2
        await database.close()

        await downgrade(dsn, "0014")
        rows = await sql.fetch("select id, seen_at is not null as seen from notifications order by tx, seq")
        assert [(row["id"], row["seen"]) for row in rows] == [(id, id == seen.message_id) for id in order]
        await sql.close()


BEFORE_RUNS = """
insert into outbox (shard, topic, key, keys, first_number, payload, messages, sent_at) values
    (1, 'ticket-issue', $1, null, 1, null, 2, now()),
    (1, 'ticket-issue', $1, null, 3, null, 1, null),
    (2, 'ticket-issue', $1, null, null, E'{"n":1}\n{"n":2}', 2, null),
    (3, 'notification', null, array['u'], null, '{"n":3}', 1, null)
"""


@pytest.mark.asyncio
async def test_what_was_ordered_before_runs_is_sent_after_them_and_before_them_again(
    servers: Servers, event_id: str
) -> None:
    async with own_database(servers.postgres_dsn) as dsn:
        await downgrade(dsn, "0016")
        sql = await asyncpg.connect(dsn)
        await sql.execute(
            "insert into admissions (event_id, number, user_id, sequence, source)"
            " select $1, n, 'u' || n, 70 + n, 'line' from generate_series(1, 3) as n",
            event_id,
        )
        await sql.execute(BEFORE_RUNS, event_id)
        await migrate._migrate(dsn)

        database = Database(dsn, size=2)
        async with database.connection() as connection:
            found = await OutboxStore(database).oldest_unsent(connection, [1, 2, 3], 10)
        assert [row.keys for row in found] == [[event_id], [event_id] * 2, ["u"]]
        assert b'"number":3' in bytes(found[0].payloads[0])
        assert [list(row.payloads) for row in found[1:]] == [['{"n":1}', '{"n":2}'], ['{"n":3}']]
        await sql.execute(
            "insert into outbox (shard, topic, keys, first_numbers, counts, messages)"
            " values (1, 'ticket-issue', array[$1, $1], array[2, 1], array[2, 1], 3)",
            event_id,
        )
        await database.close()

        await downgrade(dsn, "0016")
        rows = await sql.fetch(
            "select first_number, messages, sent_at is null as unsent from outbox where key = $1 order by id", event_id
        )
        assert [tuple(row) for row in rows] == [(1, 2, False), (3, 1, True), (2, 2, True), (1, 1, True)]
        await sql.close()
