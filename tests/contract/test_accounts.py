"""The account of a line in Valkey and of an event in SQL, as of one moment."""

from __future__ import annotations

from fairgate.domain.line import LineState
from fairgate.stores.accounts import Accounts
from fairgate.stores.claims import ClaimStore
from tests.conftest import Servers
from tests.support.line import Fans, gatekeeper


async def test_every_waiter_is_in_exactly_one_column(servers: Servers, crowd: Fans, event_id: str) -> None:
    accounts = Accounts(crowd.database, crowd.store.channel)
    async with gatekeeper(servers.postgres_dsn, servers.valkey_url) as keeper:
        line = await crowd.create(event_id, state=LineState.PAUSED)
        for i in range(6):
            await crowd.join(event_id, f"u{i}")
        await crowd.queue.leave(event_id, "u5")
        claimed = await ClaimStore(keeper.store).claim(line, keeper.shards.epochs[line.shard], 2)
        found = await accounts.line(event_id, named=1)
        assert (found.joined, found.left, found.waiting, found.claims) == (6, 1, 3, 2)
        assert [(claim.user_id, claim.sequence) for claim in found.named] == [("u0", claimed.claims[0].sequence)]
        assert found.oldest_claim_s >= found.named[0].age_s >= 0
        assert found.generation == line.generation
        async with keeper.admission.signals["admitted"].expect(5):
            await crowd.lines.open(event_id)
        found = await accounts.line(event_id)
        assert (found.joined, found.left, found.admitted, found.waiting, found.claims) == (6, 1, 5, 0, 0)
        (event,) = [event for event in await accounts.events() if event.event_id == event_id]
        assert (event.admitted, event.reserved, event.issued, event.unsent) == (5, 5, 0, 5)
        assert event.lease_owner == keeper.shards.owner
        assert event.lease_s > 0


async def test_a_line_that_this_server_does_not_have_has_an_empty_account(servers: Servers, crowd: Fans) -> None:
    found = await Accounts(crowd.database, crowd.store.channel).line("no-such-line", named=5)
    assert (found.generation, found.waiting, found.claims, found.named) == (0, 0, 0, [])


async def test_the_backlog_is_told_by_shard(servers: Servers, crowd: Fans, event_id: str) -> None:
    async with crowd.database.transaction() as sql:
        await sql.execute(
            """insert into outbox (shard, topic, keys, payload, messages, created_at)
               values (77, 'ticket-issue', array[$1, $1], E'{}\\n{}', 2, clock_timestamp() - interval '1 hour')""",
            event_id,
        )
    try:
        (found,) = [one for one in await Accounts(crowd.database, crowd.store.channel).backlog() if one.shard == 77]
        assert (found.rows, found.messages, found.lease_owner) == (1, 2, None)
        assert found.age_s >= 3_600
    finally:
        async with crowd.database.connection() as sql:
            await sql.execute("delete from outbox where shard = 77")
