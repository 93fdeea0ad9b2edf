"""Sold out, closed: who still waits for what is over leaves the line by the same steps, and is told."""

from __future__ import annotations

import asyncpg

from fairgate.admission.owner import Owned
from fairgate.admission.steps import Admitted, Steps
from fairgate.domain.line import LineState
from fairgate.domain.place import Outcome, Status
from fairgate.failpoints import failpoint

# Smaller than an admission: each user gets a message of their own.
BATCH_MAX = 1_000

# What a reader of the topic sees; Fairgate's own notifications speak the user's language.
_WORDS = {
    Status.SOLD_OUT: ("Sold out", "All tickets are gone. Thank you for waiting. / 매진되었습니다."),
    Status.CLOSED: ("The line is closed", "This line has ended. / 대기열이 종료되었습니다."),
}


def is_over(owned: Owned) -> bool:
    """Nobody waits in this line for anything any more."""
    return owned.line.sold_out or owned.line.state is LineState.CLOSED


async def depart(steps: Steps, owned: Owned) -> int:
    """One batch. → how many left the claims."""
    [claims] = await steps.claim_each([(owned, BATCH_MAX)])
    if not claims:
        return 0
    reason = Status.CLOSED if owned.line.state is LineState.CLOSED else Status.SOLD_OUT
    rows = await steps.depart(owned, claims, reason, _WORDS[reason])
    outcomes = [(row["user_id"], await _outcome(steps, row, reason)) for row in rows]
    await steps.clear_each("departed", [(owned, Admitted(outcomes, 0))])
    failpoint("admission.gone")
    return len(rows)


async def _outcome(steps: Steps, row: asyncpg.Record, reason: Status) -> Outcome:
    """Who has a right keeps it."""
    return Outcome(reason, row["sequence"]) if row["outcome"] == "departed" else await steps.outcome(row)
