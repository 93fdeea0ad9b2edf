"""Steps 3 to 5 of admission: claim, write, clear. Each may be repeated by whoever owns the line next."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from operator import attrgetter
from typing import NamedTuple, TypeAlias, TypeVar

import asyncpg

from fairgate.admission.owner import Owned, Owner
from fairgate.domain.place import Outcome, Status
from fairgate.errors import FairgateError, StaleEpoch, StaleGeneration
from fairgate.failpoints import failpoint
from fairgate.stores.claims import Claim, Claimed, ClaimStore, Settled
from fairgate.stores.database import Database, lines_of, translated
from fairgate.stores.leases import LEASE_S
from fairgate.stores.line import LineStore
from fairgate.stores.outbox import OutboxBell
from fairgate.stores.standings import read_standings

T = TypeVar("T")
Batch: TypeAlias = tuple[Owned, list[Claim]]

# From here on the claims of a line are a crowd, which is admitted by a statement of its own.
CROWD = 100


class Admitted(NamedTuple):
    """What became of the claims of a line: the outcomes of who is settled, how many of them are admitted, and whether
    others are held, who found nothing to reserve.
    """

    outcomes: list[tuple[str, Outcome]]
    admitted: int
    held: bool = False


class Steps:
    """One process's way from the line to SQL and back. Every step is refused where the lease is somebody else's."""

    def __init__(self, database: Database, owner: Owner, store: LineStore, bell: OutboxBell) -> None:
        self._database, self._owner, self._store, self._bell = database, owner, store, bell
        self._claims = ClaimStore(store)
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None
        self._writing = asyncio.Lock()

    async def claim_each(self, wanted: Sequence[tuple[Owned, int]]) -> list[list[Claim]]:
        """3: of each line at most so many claims, oldest first; none where it is not ours any more."""
        for owned, _ in wanted:
            owned.stirred = False
        found = await self._claims.claim_each([(owned.line, owned.epoch, count) for owned, count in wanted])
        claims = [self._claimed(owned, one) for (owned, _), one in zip(wanted, found, strict=True)]
        if any(claims):
            failpoint("admission.claimed")
        return claims

    def _claimed(self, owned: Owned, found: Claimed | FairgateError) -> list[Claim]:
        if isinstance(found, FairgateError):
            self._refused(owned, found)
            return []
        # the notice of a join may have come before the answer of the script that it came after
        owned.waiting, owned.claims = max(found.waiting, int(owned.stirred)), found.pending
        return found.claims

    async def admit(self, batches: Sequence[Batch]) -> dict[str, Admitted]:
        """4: what became of the claims, by event. A line whose lease is lost is missing: nothing is written."""
        async with self._writing:
            return await self._admit(batches)

    async def _admit(self, batches: Sequence[Batch]) -> dict[str, Admitted]:
        became: dict[str, Admitted] = {}
        others: list[Batch] = []
        for owned, claims in batches:
            crowd = len(claims) >= CROWD
            at_once = await self._fenced(owned, self._admit_crowd(owned, claims)) if crowd else False
            if at_once:
                outcomes = [(claim.user_id, Outcome(Status.ADMITTED, claim.sequence)) for claim in claims]
                became[owned.line.event_id] = Admitted(outcomes, len(claims))
            elif at_once is not None:  # None: the lease is lost
                others.append((owned, claims))
        for event_id, rows in (await self._admit_each(others)).items():
            outcomes = [(row["user_id"], await self.outcome(row)) for row in rows if row["outcome"] != "held"]
            fresh = sum(row["outcome"] == "admitted" for row in rows)
            became[event_id] = Admitted(outcomes, fresh, held=len(outcomes) < len(rows))
        return became

    async def _admit_crowd(self, owned: Owned, claims: Sequence[Claim]) -> bool:
        """Whether all of one line were admitted together; otherwise nobody was. Raises `StaleEpoch`."""
        in_order = sorted(claims, key=attrgetter("sequence"))
        with translated():
            first = await self._database.queries.admit_crowd(
                await self.connection(),
                lease=self._owner.lease_of(owned),
                epoch=owned.epoch,
                event_id=owned.line.event_id,
                users=lines_of([claim.user_id for claim in in_order]),
                sequences=[claim.sequence for claim in in_order],
            )
        if first is not None:
            self._admitted()
        return first is not None

    async def _admit_each(self, batches: Sequence[Batch]) -> dict[str, list[asyncpg.Record]]:
        """All lines together, each claim by itself, by event."""
        if not batches:
            return {}
        leases = {self._owner.lease_of(owned): owned.epoch for owned, _ in batches}
        flat = [(owned.line.event_id, *claim) for owned, claims in batches for claim in claims]
        events, users, sequences = (list(column) for column in zip(*flat, strict=True))
        try:
            with translated():
                rows = await self._database.queries.admit(
                    await self.connection(),
                    leases=list(leases),
                    epochs=list(leases.values()),
                    events=events,
                    users=users,
                    sequences=sequences,
                )
        except StaleEpoch:
            for owned, _ in batches:
                self._owner.lost(owned)
            return {}
        self._admitted()
        return _by_event(rows)

    def _admitted(self) -> None:
        failpoint("admission.admitted")
        self._bell.ring()

    async def depart(
        self, owned: Owned, claims: Sequence[Claim], reason: Status, words: tuple[str, str]
    ) -> list[asyncpg.Record]:
        """4, for who waits for what is over: departures, and a message to each."""
        title, body = words
        try:
            with translated():
                rows: list[asyncpg.Record] = await self._database.queries.depart(
                    await self.connection(),
                    lease=self._owner.lease_of(owned),
                    epoch=owned.epoch,
                    shard=owned.line.shard,
                    event_id=owned.line.event_id,
                    users=[claim.user_id for claim in claims],
                    sequences=[claim.sequence for claim in claims],
                    reason=reason.value,
                    title=title,
                    body=body,
                )
        except StaleEpoch:
            self._owner.lost(owned)
            return []
        failpoint("admission.departed")
        self._bell.ring()
        return rows

    async def clear_each(self, counter: str, settled: Sequence[tuple[Owned, Admitted]]) -> None:
        """5: the claims that SQL has by now."""
        errors = await self._claims.clear_each(
            [Settled(owned.line, owned.epoch, counter, one.outcomes, one.held) for owned, one in settled]
        )
        for (owned, one), error in zip(settled, errors, strict=True):
            if error is not None:
                self._refused(owned, error)
            owned.claims = max(0, owned.claims - len(one.outcomes))

    async def show(self, owned: Owned) -> None:
        """The bound that decides, on the board."""
        await self._fenced(owned, self._store.show_bound(owned.line, owned.epoch, owned.bound))
        owned.shown = owned.bound

    async def outcome(self, row: asyncpg.Record) -> Outcome:
        """What the user of this claim is now; SQL knows it where the claim itself was not admitted."""
        if row["outcome"] == "admitted":
            return Outcome(Status.ADMITTED, row["sequence"])
        async with self._database.connection() as connection:
            known = await read_standings(self._database, connection, row["event_id"], [row["user_id"]])
        standing = known[row["user_id"]]
        return Outcome(standing.status, row["sequence"], standing.ticket_id)

    async def connection(self) -> asyncpg.Connection[asyncpg.Record]:
        """One connection keeps the statements in order; its transactions end before a lease does."""
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._database.dedicated(transaction_timeout_s=LEASE_S - 1)
        return self._connection

    async def close(self) -> None:
        if self._connection is not None:
            await asyncio.wait_for(self._connection.close(), 5.0)

    async def _fenced(self, owned: Owned, step: Awaitable[T]) -> T | None:
        """None where the step was refused."""
        try:
            return await step
        except (StaleEpoch, StaleGeneration) as refused:
            self._refused(owned, refused)
        return None

    def _refused(self, owned: Owned, error: FairgateError) -> None:
        """A refused step changes nothing: let the line go, or look at it afresh. Raises any other error."""
        if isinstance(error, StaleEpoch):
            self._owner.lost(owned)
        elif isinstance(error, StaleGeneration):
            self._owner.forget(owned)
        else:
            raise error


def _by_event(rows: Sequence[asyncpg.Record]) -> dict[str, list[asyncpg.Record]]:
    by_event: dict[str, list[asyncpg.Record]] = {}
    for row in rows:
        by_event.setdefault(row["event_id"], []).append(row)
    return by_event
