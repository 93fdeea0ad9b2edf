"""What scenarios measure at the site: in SQL, in metadata and in logs, past every proxy."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime
from typing import Any

from fairgate.chaos.cluster import murmur2
from fairgate.chaos.scenario import Timeline
from fairgate.chaos.site import Site
from fairgate.errors import Unavailable
from fairgate.streams.kafka_log import kafka_log
from fairgate.streams.log import Log
from fairgate.streams.settings import connection
from fairgate.streams.topics import Names
from fairgate.ticketing.settle import GROUP as TICKETING_GROUP

_UNSETTLED = """
select count(*) from admissions a where a.admitted_at <= $1 and not exists (
  select from tickets t where t.event_id = a.event_id and t.user_id = a.user_id and t.sequence = a.sequence)
"""

# Of this crowd's events, which were made together: a site has served other crowds before.
BUSIEST = """
select event_id from admissions join lines using (event_id)
where created_at > (select max(created_at) from lines) - interval '1 minute'
group by 1 order by count(*) desc limit 1
"""

_LONGEST_GAP = f"""
with hot as ({BUSIEST}),
moments as (
  select $1 as at union all select clock_timestamp() union all
  select issued_at from tickets join hot using (event_id) where issued_at > $1)
select coalesce(max(extract(epoch from gap)), 0) from (select at - lag(at) over (order by at) as gap from moments) gaps
"""  # noqa: S608 - a constant of this file


async def one(site: Site, statement: str, *values: Any) -> Any:
    """The first value. Raises `Unavailable`."""
    return (await site.databases.sql(statement, *values))[0][0]


async def unsettled(site: Site, until: datetime) -> int:
    """Admissions up to then without their ticket."""
    return int(await one(site, _UNSETTLED, until))


async def tickets(site: Site) -> int:
    return int(await one(site, "select count(*) from tickets"))


async def inbox_letters(site: Site) -> int:
    return int(await one(site, "select count(*) from inbox"))


async def unsent(site: Site) -> int:
    """Messages in the outbox that Kafka has not acknowledged."""
    return int(await one(site, "select coalesce(sum(messages), 0) from outbox where sent_at is null"))


async def settle_time_s(site: Site, timeline: Timeline, within_s: float) -> float:
    """Until everybody who has been admitted by now holds the ticket; → the seconds it took."""
    began = await now(site)

    async def all_settled() -> bool:
        try:
            return await unsettled(site, began) == 0
        except Unavailable:
            return False

    return await timeline.until(all_settled, within_s, "everybody admitted so far has the ticket")


async def outbox_drained_s(site: Site, timeline: Timeline, within_s: float) -> float:
    """Until everything that waits in the outbox now is in Kafka; → the seconds it took."""
    last = await one(site, "select coalesce(max(id), 0) from outbox")

    async def drained() -> bool:
        try:
            left = await one(site, "select count(*) from outbox where sent_at is null and id <= $1", last)
        except Unavailable:
            return False
        return int(left) == 0

    return await timeline.until(drained, within_s, "the outbox of that moment is in Kafka")


async def recovered_s(site: Site, timeline: Timeline, since: float, within_s: float) -> float:
    """From `since` (monotonic) until everybody admitted by now has the ticket."""
    await settle_time_s(site, timeline, within_s)
    return time.monotonic() - since


async def whole_again_s(site: Site, timeline: Timeline, within_s: float) -> float:
    """Until every broker takes part and no partition lacks a replica."""
    return await timeline.until(site.cluster.whole, within_s, "every partition has all its replicas")


async def now(site: Site) -> datetime:
    """By the database's clock, like everything that is measured there."""
    found: datetime = await one(site, "select clock_timestamp()")
    return found


async def longest_gap_s(site: Site, since: datetime) -> float:
    """The longest time without a new ticket since then, for the event that most people were admitted to."""
    return float(await one(site, _LONGEST_GAP, since))


async def busiest_event(site: Site) -> str:
    """The event that most people were admitted to."""
    return str(await one(site, BUSIEST))


async def leader_of_issues(site: Site) -> int:
    """The broker that leads the busiest event's partition of `ticket-issue`."""
    names = Names(site.config.topic_prefix)
    partitions = await site.cluster.partitions(names.ticket_issue)
    return partitions[murmur2(await busiest_event(site)) % len(partitions)].leader


async def unread_of(site: Site, topic: str) -> dict[str, dict[int, int]]:
    """Group → partition → the oldest offset that it has not read; partitions read to the end are absent."""
    group = site.config.topic_prefix + TICKETING_GROUP
    log = Log(site.observer, group)
    try:
        ends = await log.ends(topic)
        committed = await log.committed(topic, list(ends))
    finally:
        await log.close()
    return {group: {p: committed.get(p, 0) for p, end in ends.items() if committed.get(p, 0) < end}}


async def rewind_group(site: Site, timeline: Timeline, group: str, topic: str) -> int:
    """Its offsets go back to the beginning, once its last member's session is over. → how many it will read again."""
    from confluent_kafka import Consumer, KafkaException, TopicPartition

    log = Log(site.observer, group)
    ends = await log.ends(topic)
    await log.close()

    def commit() -> bool:
        settings = {"group.id": group, "enable.auto.commit": False, **connection(site.observer)}
        consumer = Consumer(settings, logger=kafka_log)
        try:
            consumer.commit(offsets=[TopicPartition(topic, number, 0) for number in ends], asynchronous=False)
        except KafkaException:
            return False  # it still has members, as the coordinator sees it
        finally:
            consumer.close()
        return True

    session_s = site.config.group_session_s + 15.0
    await timeline.until(lambda: asyncio.to_thread(commit), session_s, f"{group} has no members any more")
    return sum(ends.values())


class Revocations:
    """How often members of a group lose partitions from now on, as their own logs tell."""

    WORDS = ("partitions revoked", "partitions lost")

    def __init__(self, site: Site, names: list[str]) -> None:
        self._site, self._from = site, {name: site.log_size(name) for name in names}

    def count(self) -> int:
        return sum(
            self._site.count_in_log(name, words, after) for name, after in self._from.items() for words in self.WORDS
        )
