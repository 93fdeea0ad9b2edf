"""The continuous audit on a real Valkey and a real PostgreSQL."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator

import pytest

from fairgate.config import SHARDS
from fairgate.domain.line import LineState
from fairgate.ops import audit as module
from fairgate.ops.audit import Audit, Key
from fairgate.stores.accounts import Accounts
from fairgate.stores.leases import Shards
from fairgate.telemetry import AUDIT_DIFFERENCE
from tests.conftest import Servers
from tests.support.line import Fans, gatekeeper

PATIENCE_S = 60.0


@pytest.fixture
async def audit(crowd: Fans, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Audit]:
    """Quicker to believe than in production, by the same rule."""
    monkeypatch.setattr(module, "LASTS_S", 0.3)
    monkeypatch.setattr(module, "EVERY_S", 0.05)
    monkeypatch.setattr(module, "LINE_S", 0.0)
    name = f"audit-{uuid.uuid4().hex[:6]}"
    shards = Shards(crowd.database, name, name, name, SHARDS)
    audit = Audit(Accounts(crowd.database, crowd.store.channel), shards, "nobody-measures-this")
    await shards.start()
    await audit.start()
    yield audit
    await audit.stop()
    await shards.stop()


async def until(audit: Audit, key: Key, expected: int | None) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while audit.lasts.get(key) != expected:
            async with audit.signals["looked"].expect(1, PATIENCE_S):
                pass


async def test_a_line_in_full_swing_balances_all_the_time(
    servers: Servers, crowd: Fans, audit: Audit, event_id: str
) -> None:
    async with gatekeeper(servers.postgres_dsn, servers.valkey_url) as keeper:
        await crowd.create(event_id, rate=300, burst=10)
        async with keeper.admission.signals["admitted"].expect(590, PATIENCE_S):
            for i in range(600):
                await crowd.join(event_id, f"u{i}")
                if i % 60 == 59:
                    await crowd.queue.leave(event_id, f"u{i}")
        async with audit.signals["looked"].expect(20, PATIENCE_S):
            pass
    assert [key for key in audit.lasts if key.event_id == event_id] == []


async def test_a_reservation_for_nobody_is_found_and_shown_until_it_is_gone(
    servers: Servers, crowd: Fans, audit: Audit, event_id: str
) -> None:
    async with gatekeeper(servers.postgres_dsn, servers.valkey_url):
        await crowd.create(event_id)
    key = Key("stock", event_id)
    change = "update inventory set reserved = reserved + $2 where event_id = $1"
    async with crowd.database.connection() as sql:
        await sql.execute(change, event_id, 2)
        await until(audit, key, 2)
        assert AUDIT_DIFFERENCE.labels("stock")._value.get() >= 2
        await sql.execute(change, event_id, -2)
        await until(audit, key, None)


async def test_a_waiter_who_vanished_from_the_line_is_found(
    servers: Servers, crowd: Fans, audit: Audit, event_id: str
) -> None:
    async with gatekeeper(servers.postgres_dsn, servers.valkey_url):
        await crowd.create(event_id, state=LineState.PAUSED)
        place = await crowd.join(event_id, "vanishes")
        keys = crowd.store.keys(event_id)
        await crowd.store.channel.command("ZREM", keys.line, "vanishes")
        await until(audit, Key("line", event_id), 1)
        assert place.sequence is not None
        await crowd.store.channel.command("ZADD", keys.line, place.sequence, "vanishes")
        await until(audit, Key("line", event_id), None)
