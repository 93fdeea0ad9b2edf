"""Claims that stayed longer than they should: their process died (I8). Whoever owns the line next repeats its steps.

A claim lives for milliseconds. It may rightly stay where nobody may pass: in a paused line, and where no ticket remains
to reserve. Every other one that is older than `DUE_S` is an orphan that nobody has brought back.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from fairgate import telemetry
from fairgate.domain.line import LineState
from fairgate.lifecycle import Service
from fairgate.stores.accounts import CLAIMS_NAMED_MAX, Accounts, EventAccount, LineAccount
from fairgate.stores.leases import Shards

# I8. A lease ends after 5 s of silence; that leaves as much to take the line over and to repeat the steps.
DUE_S = 10.0

# Each look asks Valkey once for every line: of a thousand, that is what many admissions cost.
EVERY_S, LINE_S, SELDOM_S = 1.0, 0.005, 5.0

# One process looks: the one that holds this shard of the outbox, so that the figure is there while nobody owns a line.
LOOKING_SHARD = 0


class Orphan(msgspec.Struct, frozen=True, rename="camel"):
    """One claim, and what will happen to it. `overdue`: it should have been back by now."""

    event_id: str
    user_id: str
    sequence: int
    age_s: float
    owner: str | None
    overdue: bool
    then: str


def rests(event: EventAccount, line: LineAccount) -> str | None:
    """Why claims of this line may rightly stay; None where they may not."""
    over = event.sold_out or event.state == LineState.CLOSED
    if event.state != LineState.OPEN and not over:
        return f"the line is {event.state}: first when it opens"
    if line.held and event.remaining == 0 and not over:
        return "no ticket remains: first when one comes back"
    return None


def orphans_of(event: EventAccount, line: LineAccount) -> list[Orphan]:
    """Every claim of the line, by sequence."""
    resting = rests(event, line)
    then = resting or _recovery(event)
    return [
        Orphan(
            event.event_id,
            claim.user_id,
            claim.sequence,
            claim.age_s,
            event.lease_owner,
            resting is None and claim.age_s > DUE_S,
            then,
        )
        for claim in line.named
    ]


def _recovery(event: EventAccount) -> str:
    if event.lease_owner is not None:
        return f"{event.lease_owner} repeats the steps of admission"
    return "nobody owns the line: whichever admission process takes it next repeats the steps"


def figures(accounts: Sequence[tuple[EventAccount, LineAccount]]) -> tuple[int, float]:
    """How many claims there are, and the age in seconds of the oldest that has no right to stay."""
    count = sum(line.claims for _, line in accounts)
    ages = [line.oldest_claim_s for event, line in accounts if rests(event, line) is None]
    return count, max(ages, default=0.0)


async def look(accounts: Accounts, named: int = 0) -> list[tuple[EventAccount, LineAccount]]:
    """Every line. Raises `Unavailable`."""
    events = await accounts.events()
    return list(zip(events, await accounts.lines([event.event_id for event in events], named), strict=True))


async def all_orphans(accounts: Accounts) -> list[Orphan]:
    """Every claim of every line. Raises `Unavailable`."""
    found = await look(accounts, CLAIMS_NAMED_MAX)
    return [orphan for event, line in found for orphan in orphans_of(event, line)]


class ClaimWatch(Service):
    """Shows how many claims there are and how old the oldest orphan is. Signals: `looked`."""

    name = "claim-watch"
    idle_s = EVERY_S

    def __init__(self, accounts: Accounts, shards: Shards) -> None:
        super().__init__()
        self._accounts, self._shards = accounts, shards

    async def run_once(self) -> bool:
        found = await look(self._accounts) if LOOKING_SHARD in self._shards.epochs else []
        self.idle_s = min(max(EVERY_S, LINE_S * len(found)), SELDOM_S)
        count, age_s = figures(found)
        telemetry.CLAIMS.set(count)
        telemetry.CLAIM_AGE.set(age_s)
        self.signals["looked"].fire()
        return False
