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
