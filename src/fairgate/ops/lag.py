"""How far each consumer group is behind: in messages, and in seconds by the record at its committed offset (R1).

One process measures (the one that holds a shard of the outbox), shows it, and leaves it in SQL with its time, where
every process that admits finds it beside the outbox's age. A figure that is too old is unknown, and slows nobody.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence

import msgspec

from fairgate.config import Config
from fairgate.lifecycle import Service
from fairgate.notification.tell import GROUP as NOTIFICATION_GROUP
from fairgate.stores.database import Database
from fairgate.stores.leases import Shards
from fairgate.streams.groups import describe
from fairgate.streams.log import Log, Unread
from fairgate.streams.topics import PARTITIONS, Names, admin
from fairgate.telemetry import LAG, LAG_SECONDS
from fairgate.ticketing.settle import GROUP as TICKETING_GROUP

# Admission reacts within about two of these; each costs Kafka some twenty small questions. Where somebody is behind,
# that reaction decides whether the consumers run dry or are flooded.
EVERY_S, OFTEN_S = 1.0, 0.5
BUSY_MESSAGES = 1_000

# One process measures: the one that holds this shard.
MEASURING_SHARD = 0


class Reading(msgspec.Struct, frozen=True):
    """A group that reads a topic. `bounds_admission`: between the turn and the told ticket."""

    log: Log
    topic: str
    bounds_admission: bool = False


class Lag(msgspec.Struct, frozen=True):
    """Unread messages, and the age of the oldest in seconds; both 0 where all is read."""

    messages: int
    seconds: float


def lag_of(unread: Mapping[int, Unread], now_ms: float) -> Lag:
    """Of all partitions together."""
    messages = sum(partition.messages for partition in unread.values())
    oldest_ms = min((partition.oldest_ms for partition in unread.values()), default=now_ms)
    return Lag(messages, max(0.0, (now_ms - oldest_ms) / 1000))


async def measured(reading: Reading) -> Lag:
    """Raises `Unavailable`."""
    return lag_of(await reading.log.unread(reading.topic), time.time() * 1000)


class GroupLag(msgspec.Struct, frozen=True):
    """A group and a topic, for who looks: `members` are of the whole group, `state` is Kafka's word."""

    group: str
    topic: str
    messages: int
    seconds: float
    members: int
    partitions: int
    state: str


def readings(config: Config) -> list[Reading]:
    """Who reads what of Fairgate's topics. Each has a connection of its own, which the caller closes."""
    names = Names(config.topic_prefix)

    def reading(group: str, topic: str, *, bounds_admission: bool) -> Reading:
        return Reading(Log(config, config.topic_prefix + group), topic, bounds_admission)

    return [
        reading(TICKETING_GROUP, names.ticket_issue, bounds_admission=True),
        reading(NOTIFICATION_GROUP, names.ticket_issued, bounds_admission=True),
        reading(NOTIFICATION_GROUP, names.notification, bounds_admission=False),
    ]


async def group_lags(config: Config) -> list[GroupLag]:
    """As of now. Raises `Unavailable`, `ServerUnreachable`."""
    asked = readings(config)
    try:
        lags = [await measured(reading) for reading in asked]
        groups = await asyncio.to_thread(describe, admin(config), sorted({reading.log.group for reading in asked}))
    finally:
        for reading in asked:
            await reading.log.close()
    known = {group.name: group for group in groups}
    return [
        GroupLag(group.name, reading.topic, lag.messages, lag.seconds, group.members, PARTITIONS, group.state)
        for reading, lag in zip(asked, lags, strict=True)
        for group in [known[reading.log.group]]
    ]


class LagWatch(Service):
    """Signals: `measured`."""

    name = "lag-watch"
    idle_s = EVERY_S

    def __init__(self, database: Database, readings: Sequence[Reading], shards: Shards) -> None:
        super().__init__()
        self._database, self._readings, self._shards = database, readings, shards

    async def run_once(self) -> bool:
        if MEASURING_SHARD not in self._shards.epochs:
            self._show([])
            return False
        lags = [(reading, await measured(reading)) for reading in self._readings]
        busy = any(reading.bounds_admission and lag.messages > BUSY_MESSAGES for reading, lag in lags)
        self.idle_s = OFTEN_S if busy else EVERY_S
        await self._tell(lags)
        self._show(lags)
        self.signals["measured"].fire()
        return False

    async def teardown(self) -> None:
        for reading in self._readings:
            await reading.log.close()

    async def _tell(self, lags: Sequence[tuple[Reading, Lag]]) -> None:
        async with self._database.connection() as connection:
            await self._database.queries.note_lags(
                connection,
                groups=[reading.log.group for reading, _ in lags],
                topics=[reading.topic for reading, _ in lags],
                messages=[lag.messages for _, lag in lags],
                seconds=[lag.seconds for _, lag in lags],
                bounding=[reading.bounds_admission for reading, _ in lags],
            )

    def _show(self, lags: Sequence[tuple[Reading, Lag]]) -> None:
        """Only by who measures: a figure of long ago beside the present one would mislead."""
        LAG.clear()
        LAG_SECONDS.clear()
        for reading, lag in lags:
            LAG.labels(reading.log.group, reading.topic).set(lag.messages)
            LAG_SECONDS.labels(reading.log.group, reading.topic).set(lag.seconds)
