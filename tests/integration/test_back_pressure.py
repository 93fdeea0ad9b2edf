"""A slow pipeline slows the line by itself and lets it go again (F8), with every stage and server between them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fairgate.admission.pace import Ramp
from fairgate.config import SHARDS
from fairgate.ops.lag import LagWatch, Reading
from fairgate.outbox.relay import Relay
from fairgate.stores.database import Database
from fairgate.stores.leases import Shards
from fairgate.stores.outbox import OutboxStore
from fairgate.streams.log import Log
from fairgate.streams.producer import OrderedProducer
from fairgate.telemetry import ADMISSION_BOUND, LAG
from fairgate.ticketing.settle import GROUP
from tests.conftest import Servers
from tests.support.line import Fans, gatekeeper
from tests.support.ticketing import Broker, ticketing

SLOW_FROM, HOLD_FROM, FANS = 100, 600, 1_500
PATIENCE_S = 120.0


@asynccontextmanager
async def relaying(broker: Broker, database: Database) -> AsyncIterator[LagWatch]:
    """The relay with its watch over ticketing's lag, looking ten times as often as in production."""
    config, names = broker.config, broker.names
    shards = Shards(database, "outbox", "relay-of-back-pressure", "relay", SHARDS)
    relay = Relay(
        database, OutboxStore(database), shards, lambda: OrderedProducer(config, "relay"), config.topic_prefix
    )
    shards.on_taken(relay.wake.set)
    reading = Reading(Log(config, config.topic_prefix + GROUP), names.ticket_issue, bounds_admission=True)
    watch = LagWatch(database, [reading], shards)
    watch.idle_s = 0.1
    for service in (shards, relay, watch):
        await service.start()
    try:
        yield watch
    finally:
        for service in (watch, relay, shards):
            await service.stop()


async def counted(crowd: Fans, query: str, event_id: str) -> int:
    async with crowd.database.connection() as sql:
        return int(await sql.fetchval(query, event_id))


async def until(crowd: Fans, query: str, event_id: str, count: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while await counted(crowd, query, event_id) < count:
            async with crowd.book.signals["read"].expect(1, PATIENCE_S):
                pass


ADMITTED = "select count(*) from admissions where event_id = $1"
ISSUED = "select issued from tallies where event_id = $1"


async def test_stopped_ticketing_holds_the_line_and_it_goes_on_by_itself(
    servers: Servers, crowd: Fans, event_id: str, topic_prefix: str
) -> None:
    ramps = {"lag": Ramp(SLOW_FROM, HOLD_FROM)}
    kafka = Broker(servers.config, topic_prefix)
    await kafka.prepare()
    async with (
        gatekeeper(servers.postgres_dsn, servers.valkey_url, **ramps),
        relaying(kafka, crowd.database) as watch,
        ticketing(kafka, servers.postgres_dsn),
    ):
        # A lag that nobody has measured yet slows nobody; and what other tests left in the outbox is on its way, too.
        await until_quiet(crowd, watch, kafka)
        await crowd.create(event_id, rate=80, burst=20)
        slowed = ADMISSION_BOUND.labels("lag")._value.get()
        async with crowd.database.transaction() as sql:
            # Every ticket of the event waits for this row; admission does not.
            await sql.fetchval("select issued from tallies where event_id = $1 for update", event_id)
            await asyncio.gather(*(crowd.join(event_id, f"u{i}") for i in range(FANS)))
            await until_held(watch, kafka)
            held = await counted(crowd, ADMITTED, event_id)
            async with watch.signals["measured"].expect(20, PATIENCE_S):
                pass
            assert await counted(crowd, ADMITTED, event_id) == held, "nothing passes at the hold"
            assert HOLD_FROM <= held < FANS
            assert (await crowd.queue.board(event_id)).bound == "lag", "everybody can see why"
        assert ADMISSION_BOUND.labels("lag")._value.get() > slowed
        await until(crowd, ISSUED, event_id, FANS)
        async with watch.signals["measured"].expect(3, PATIENCE_S):
            pass
        assert lag_of(kafka) == 0
        async with asyncio.timeout(PATIENCE_S):
            while (await crowd.queue.board(event_id)).bound != "none":
                async with watch.signals["measured"].expect(1, PATIENCE_S):
                    pass


async def until_quiet(crowd: Fans, watch: LagWatch, kafka: Broker) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            async with watch.signals["measured"].expect(2, PATIENCE_S), crowd.database.connection() as sql:
                unsent = await sql.fetchval("select count(*) from outbox where sent_at is null")
            if unsent == 0 == lag_of(kafka):
                return


async def until_held(watch: LagWatch, kafka: Broker) -> None:
    """Measured at the hold, and every process that admits has had the time to read it."""
    async with asyncio.timeout(PATIENCE_S):
        while lag_of(kafka) < HOLD_FROM:
            async with watch.signals["measured"].expect(1, PATIENCE_S):
                pass
    before = -1.0
    while before != lag_of(kafka):
        before = lag_of(kafka)
        async with watch.signals["measured"].expect(20, PATIENCE_S):
            pass


def lag_of(kafka: Broker) -> float:
    return float(LAG.labels(kafka.config.topic_prefix + GROUP, kafka.names.ticket_issue)._value.get())


async def test_an_unknown_lag_slows_nobody(servers: Servers, crowd: Fans, event_id: str) -> None:
    """Nobody measures any more: what was measured long ago must not hold the line for ever."""
    async with crowd.database.connection() as sql:
        await sql.execute(
            """insert into lags ("group", topic, messages, seconds, bounds_admission, measured_at)
               values ('group-' || $1, 'topic', 1000000, 1000, true, clock_timestamp() - interval '1 hour')""",
            event_id,
        )
    ramps = {"lag": Ramp(SLOW_FROM, HOLD_FROM)}
    async with gatekeeper(servers.postgres_dsn, servers.valkey_url, **ramps) as keeper:
        await crowd.create(event_id)
        async with keeper.admission.signals["admitted"].expect(1, PATIENCE_S):
            await crowd.join(event_id, "a")
