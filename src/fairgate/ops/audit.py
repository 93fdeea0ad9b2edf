"""The continuous audit (F31, I10): counters of Valkey and SQL that must add up, looked at again and again.

| equation | says |
| --- | --- |
| `line` | joined = waiting + claimed + left + admitted + told that the wait is over; in one step of Valkey |
| `stock` | reserved = admitted − cancelled − expired (live tickets, and admissions on their way); in one SQL snapshot |
| `tickets` | issued = pending + confirmed + cancelled + expired, with none of them below 0; in the same snapshot |
| `pipeline` | admitted = in the outbox + in Kafka, unread + issued; over all events |

The first three are exact at every moment, in every generation: a recovery starts the counters of a line from what it
found. The last one compares SQL with a measurement of Kafka that is a second older, so that what moves may look lost.
Therefore a difference counts only when it lasts: in every look of ten seconds, with the same sign, and by the least
amount of them. Costs two statements over the events' counters and one script per line; `books.py` reads all rows.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
import structlog

from fairgate.lifecycle import Service
from fairgate.stores.accounts import Accounts, EventAccount, LineAccount
from fairgate.stores.leases import Shards
from fairgate.telemetry import AUDIT_DIFFERENCE

log = structlog.get_logger("fairgate.audit")

# The more lines, the more a look costs.
EVERY_S, LINE_S, SELDOM_S = 3.0, 0.01, 10.0
LOOKS, LASTS_S = 3, 10.0
LAG_FRESH_S = 10.0

EQUATIONS = ("line", "stock", "tickets", "pipeline")
ALL_EVENTS = "*"

# One process audits: the one that holds this shard of the outbox.
AUDITING_SHARD = 0


class Key(NamedTuple):
    equation: str
    event_id: str


# What an equation leaves over; only what is not 0.
Differences = Mapping[Key, int]


def line_difference(event: EventAccount, line: LineAccount) -> int:
    """Above 0: joined and gone without a trace. 0 while this server does not have the line as SQL knows it."""
    if line.recovering or line.generation == 0 or line.generation != event.generation:
        return 0
    return line.joined - (line.waiting + line.claims + line.left + line.admitted + line.departed)


def stock_difference(event: EventAccount) -> int:
    """Above 0: reserved for nobody."""
    return event.reserved - (event.admitted - event.cancelled - event.expired)


def tickets_difference(event: EventAccount) -> int:
    """Below 0: more tickets have ended or are final than were issued."""
    pending = event.issued - event.confirmed - event.cancelled - event.expired
    return min(0, pending, event.confirmed, event.cancelled, event.expired)


def pipeline_difference(events: Sequence[EventAccount], unread: int) -> int:
    """Above 0: admitted, and neither a ticket nor on its way. Below 0: on its way or issued, and never admitted.

    Kafka may hold more than is missing: a record may be there twice, or have nothing behind it.
    """
    on_its_way = sum(event.admitted - event.issued - event.unsent for event in events)
    return max(0, on_its_way - unread) + min(0, on_its_way)


def differences(accounts: Sequence[tuple[EventAccount, LineAccount]], unread: int | None) -> dict[Key, int]:
    """Of all equations. `unread` None: nobody knows what is in Kafka, so the pipeline is not judged."""
    found: dict[Key, int] = {}
    for event, line in accounts:
        found[Key("line", event.event_id)] = line_difference(event, line)
        found[Key("stock", event.event_id)] = stock_difference(event)
        found[Key("tickets", event.event_id)] = tickets_difference(event)
    if unread is not None:
        found[Key("pipeline", ALL_EVENTS)] = pipeline_difference([event for event, _ in accounts], unread)
    return {key: amount for key, amount in found.items() if amount}


class _Seen(msgspec.Struct):
    first_s: float
    looks: int
    amount: int


class Lasting:
    """Which differences are no transit: seen in every one of `LOOKS` looks over `LASTS_S`. Pure; `now_s` only grows."""

    def __init__(self) -> None:
        self._seen: dict[Key, _Seen] = {}

    def note(self, now_s: float, found: Differences) -> dict[Key, int]:
        """One more look. → what lasts, each with the least amount of its looks."""
        self._seen = {key: self._again(now_s, key, amount) for key, amount in found.items()}
        return {
            key: seen.amount
            for key, seen in self._seen.items()
            if seen.looks >= LOOKS and now_s - seen.first_s >= LASTS_S
        }

    def _again(self, now_s: float, key: Key, amount: int) -> _Seen:
        seen = self._seen.get(key)
        if seen is None or (seen.amount > 0) != (amount > 0):
            return _Seen(now_s, 1, amount)
        return _Seen(seen.first_s, seen.looks + 1, min(seen.amount, amount, key=abs))


class Audit(Service):
    """Signals: `looked`; `differs` (count) as something begins to last."""

    name = "audit"
    idle_s = EVERY_S

    def __init__(self, accounts: Accounts, shards: Shards, ticket_issue: str) -> None:
        super().__init__()
        self._accounts, self._shards, self._topic = accounts, shards, ticket_issue
        self._lasting = Lasting()
        self.lasts: dict[Key, int] = {}

    async def run_once(self) -> bool:
        if AUDITING_SHARD not in self._shards.epochs:
            self._lasting, self.lasts = Lasting(), {}
            AUDIT_DIFFERENCE.clear()
            return False
        self._judge(self._lasting.note(time.monotonic(), await self._look()))
        self.signals["looked"].fire()
        return False

    async def _look(self) -> dict[Key, int]:
        """SQL before Valkey: what moves on in between is exact within each of them."""
        unread = await self._accounts.unread(self._topic, LAG_FRESH_S)
        events = await self._accounts.events()
        lines = await self._accounts.lines([event.event_id for event in events])
        self.idle_s = min(max(EVERY_S, LINE_S * len(lines)), SELDOM_S)
        return differences(list(zip(events, lines, strict=True)), unread)

    def _judge(self, lasts: dict[Key, int]) -> None:
        new = lasts.keys() - self.lasts.keys()
        for key in sorted(new):
            log.error("the books do not balance", equation=key.equation, line=key.event_id, difference=lasts[key])
        for key in sorted(self.lasts.keys() - lasts.keys()):
            log.info("the books balance again", equation=key.equation, line=key.event_id)
        self.lasts = lasts
        for equation in EQUATIONS:
            amounts = [abs(amount) for key, amount in lasts.items() if key.equation == equation]
            AUDIT_DIFFERENCE.labels(equation).set(sum(amounts))
        self.signals["differs"].fire(len(new))
