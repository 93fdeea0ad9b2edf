"""The account of a line in Valkey and of every event in SQL, each as of one moment, for who audits and operates."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from fairgate.stores.channel import Channel, Script
from fairgate.stores.database import Connection, Database
from fairgate.stores.keys import LineKeys

# A claim names itself until there are more than anybody reads.
CLAIMS_NAMED_MAX = 1_000
# More than a person reads; the counts are of all.
FOUND_MAX = 1_000
# So many scripts of less than a millisecond go out together: joins in between wait for a few of them.
LINES_AT_ONCE = 50

_ACCOUNT = Script("account")


class StandingClaim(NamedTuple):
    """A claim that is there right now, and since when."""

    user_id: str
    sequence: int
    age_s: float


class LineAccount(msgspec.Struct, frozen=True, kw_only=True):
    """One line in Valkey. `generation` 0: this server does not have the line. Counters begin with a generation."""

    generation: int
    recovering: bool
    held: bool  # some of the claims found nothing to reserve
    joined: int
    left: int
    admitted: int
    departed: int
    waiting: int
    claims: int
    oldest_claim_s: float
    named: list[StandingClaim]


class EventAccount(msgspec.Struct, frozen=True, kw_only=True):
    """The counters of one event in SQL. `unsent`: messages of `ticket-issue` that Kafka does not have.

    `lease_owner` and `lease_s`: who owns the line, and for how long still; None and a negative time: nobody.
    """

    event_id: str
    generation: int
    state: str
    sold_out: bool
    capacity: int | None
    reserved: int
    admitted: int
    issued: int
    confirmed: int
    cancelled: int
    expired: int
    unsent: int
    lease_owner: str | None
    lease_s: float

    @property
    def remaining(self) -> int | None:
        return None if self.capacity is None else max(0, self.capacity - self.reserved)


class Backlog(msgspec.Struct, frozen=True):
    """What Kafka does not have of one outbox shard. `age_s` is of the oldest row."""

    shard: int
    rows: int
    messages: int
    age_s: float
    lease_owner: str | None


class Rows(msgspec.Struct, frozen=True, kw_only=True):
    """The rows of one event, counted. `unsettled`: admissions without a ticket."""

    event_id: str
    admissions: int
    unsettled: int
    pending: int
    confirmed: int
    cancelled: int
    expired: int
    departures: int


class Finding(NamedTuple):
    """Somebody who stands where nobody should."""

    event_id: str
    user_id: str
    sequence: int
    number: int


class Snapshot(msgspec.Struct, frozen=True):
    """Everything about all events at one moment; of each kind of finding at most `FOUND_MAX`."""

    events: list[tuple[EventAccount, Rows]]
    unsettled: list[Finding]
    unnumbered: list[Finding]
    from_nowhere: list[Finding]


class Accounts:
    """Raises `Unavailable`."""

    def __init__(self, database: Database, channel: Channel) -> None:
        self._database, self._channel = database, channel

    async def events(self) -> list[EventAccount]:
        """All of them in one snapshot, by event id."""
        async with self._database.connection() as connection:
            return [EventAccount(**row) for row in await self._database.queries.event_accounts(connection)]

    async def backlog(self) -> list[Backlog]:
        """Of every outbox shard that has something or somebody."""
        async with self._database.connection() as connection:
            return [Backlog(*row.values()) for row in await self._database.queries.backlog(connection)]

    async def unread(self, topic: str, fresh_s: float) -> int | None:
        """Messages of this topic that its group has not read; None where nobody has measured for so long."""
        async with self._database.connection() as connection:
            count: int | None = await self._database.queries.in_flight_max(connection, topic=topic, fresh_s=fresh_s)
        return count

    async def snapshot(self) -> Snapshot:
        """Counts every row: seconds for millions of them."""
        queries = self._database.queries
        async with self._database.whole_tables() as connection:
            events = [EventAccount(**row) for row in await queries.event_accounts(connection)]
            rows = [Rows(**row) for row in await queries.counted_rows(connection)]
            asked = (queries.admissions_without_ticket, queries.admissions_without_number)
            found = [await _found(query, connection) for query in (*asked, queries.tickets_without_admission)]
        return Snapshot(list(zip(events, rows, strict=True)), *found)

    async def out_of_order(self) -> list[Finding]:
        """Who was admitted after somebody who had joined later (I3)."""
        async with self._database.whole_tables() as connection:
            return await _found(self._database.queries.admitted_out_of_order, connection)

    async def doubled(self) -> dict[str, list[Finding]]:
        """What is there twice, by what it is (I2)."""
        queries = self._database.queries
        kinds = {
            "several live tickets": queries.several_live_tickets,
            "a number used twice": queries.numbers_used_twice,
            "told twice": queries.told_twice,
        }
        async with self._database.whole_tables() as connection:
            return {what: await _found(query, connection) for what, query in kinds.items()}

    async def line(self, event_id: str, named: int = 0) -> LineAccount:
        """With up to `named` claims by their sequence."""
        await self._channel.connect()
        keys = LineKeys(event_id)
        answer = await self._channel.run(_ACCOUNT, [keys.line, keys.claims, keys.claimed_at, keys.state], [named])
        return _line_account(answer)

    async def lines(self, event_ids: Sequence[str], named: int = 0) -> list[LineAccount]:
        """In their order, each as of a moment of its own."""
        found: list[LineAccount] = []
        for start in range(0, len(event_ids), LINES_AT_ONCE):
            some = event_ids[start : start + LINES_AT_ONCE]
            found += await asyncio.gather(*(self.line(event_id, named) for event_id in some))
        return found


async def _found(query: Any, connection: Connection) -> list[Finding]:
    return [Finding(*row.values()) for row in await query(connection, limit=FOUND_MAX)]


def _line_account(answer: list[Any]) -> LineAccount:
    fence, recovering, held, joined, left, admitted, departed, waiting, claims, oldest_ms, *flat = answer
    named = [
        StandingClaim(user.decode(), int(sequence), max(0, age_ms) / 1000)
        for user, sequence, age_ms in zip(flat[::3], flat[1::3], flat[2::3], strict=True)
    ]
    return LineAccount(
        generation=int(fence.decode().partition(":")[0] or 0),
        recovering=bool(recovering),
        held=bool(held),
        joined=joined,
        left=left,
        admitted=admitted,
        departed=departed,
        waiting=waiting,
        claims=claims,
        oldest_claim_s=oldest_ms / 1000,
        named=named,
    )
