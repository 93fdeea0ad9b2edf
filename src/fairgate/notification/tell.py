"""The stage that tells users (F18–F20): `ticket-issued` and `notification` → inbox row → channels.

One batch, in this order, so that a crash at any point is repaired by reading the batch again:

1. read each record; what cannot be read is set aside with its reason
2. believe a `ticket-issued` only if SQL has the ticket, and keep its inbox row, all in one statement or none
3. give what is new to the channels, and update the line's cache of outcomes
4. where 2 found one that was not new or not just so: ask SQL for each ticket, keep what is missing (a repeat adds
   nothing), and 3
5. who was missing in 4 gets a bounded time: 4 again for those
6. dead letters, awaited
7. commit the offsets
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Collection, Sequence
from operator import attrgetter

import structlog

from fairgate.domain.messages import TicketIssued
from fairgate.domain.words import DEFAULT_LOCALE
from fairgate.failpoints import failpoint
from fairgate.lifecycle import Service
from fairgate.notification.channels import Channels
from fairgate.notification.dead_letters import DeadLetters
from fairgate.notification.letters import Bad, Issued, Message, agrees, note_of_message, read_all
from fairgate.notification.outcomes import Outcomes
from fairgate.stores.hints import NotesFor, written
from fairgate.stores.inbox import InboxStore, Note
from fairgate.streams.consumer import ConsumerBroken, GroupConsumer
from fairgate.streams.dead_letters import Failure, Reason
from fairgate.streams.records import Batch, Record
from fairgate.streams.topics import Names
from fairgate.telemetry import DEAD_LETTERS

log = structlog.get_logger("fairgate.notification")

GROUP = "notification-group"

# What has come by then is one batch: under lag its commit is worth as many as this (about 200 ms of SQL).
BATCH_MAX = 4_000
BATCH_S = 0.25
# A ticket is in SQL before its fact is in Kafka; only a database that was just failed over may need a moment. Forged
# facts get that moment too, so after one wait in vain the next are refused at once: they cost a tenth of the time.
BELIEVE_S, IN_VAIN_S = 2.0, 20.0
ASK_AGAIN_S = 0.2


class Notification(Service):
    """One process of group `notification-group`. `consumer` makes a consumer of both topics; one that broke is
    replaced. Signals: `told` per new inbox row, `dead` per dead letter, `committed` per record.
    """

    name = "notification"
    idle_s = 0.0

    def __init__(
        self,
        *,
        consumer: Callable[[], GroupConsumer],
        names: Names,
        inbox: InboxStore,
        outcomes: Outcomes,
        channels: Channels,
        dead_letters: DeadLetters,
    ) -> None:
        super().__init__()
        self._new_consumer, self._names = consumer, names
        self._inbox, self._outcomes, self._channels, self._dead_letters = inbox, outcomes, channels, dead_letters
        self._consumer: GroupConsumer | None = None
        self._in_hand: Batch | None = None
        self._patience = _Patience()

    async def run_once(self) -> bool:
        """A batch that could not be finished stays in hand: the next round repeats it, and nothing is committed."""
        consumer = await self._running_consumer()
        try:
            batch = await self._next(consumer)
            if batch is not None:
                failpoint("notification.taken")
                await self._tell(batch.records)
                await consumer.commit(batch)
                failpoint("notification.committed")
                self._in_hand = None
                self.signals["committed"].fire(len(batch))
        except ConsumerBroken:
            await self._give_up(consumer)
            raise
        return True

    async def teardown(self) -> None:
        """Unfinished work is dropped: it was not committed, so somebody reads it again."""
        if self._consumer is not None:
            await self._give_up(self._consumer)

    async def _running_consumer(self) -> GroupConsumer:
        if self._consumer is None:
            consumer = self._new_consumer()
            await consumer.start()
            self._consumer = consumer
        return self._consumer

    async def _give_up(self, consumer: GroupConsumer) -> None:
        if self._in_hand is not None:
            consumer.done(self._in_hand)
        self._consumer = self._in_hand = None
        await consumer.stop()

    async def _next(self, consumer: GroupConsumer) -> Batch | None:
        """What is in hand and still ours, else something new."""
        if self._in_hand is None:
            self._in_hand = await consumer.next_batch(BATCH_MAX, BATCH_S)
        elif not self._in_hand.still_ours:
            self._in_hand = self._in_hand.kept()
        return self._in_hand

    async def _tell(self, records: Sequence[Record]) -> None:
        letters = read_all(records, issued_topic=self._names.ticket_issued)
        bad = [letter for letter in letters if isinstance(letter, Bad)]
        bad += await self._tell_messages([letter for letter in letters if isinstance(letter, Message)])
        bad += await self._tell_issued([letter for letter in letters if isinstance(letter, Issued)])
        if bad:
            await self._bury(bad)

    async def _tell_messages(self, messages: Sequence[Message]) -> list[Bad]:
        if not messages:
            return []
        locales = await self._inbox.locales({letter.message.user_id for letter in messages})
        told = [
            (letter.record, note_of_message(letter, locales.get(letter.message.user_id, DEFAULT_LOCALE)))
            for letter in messages
        ]
        bad = [note for _, note in told if isinstance(note, Bad)]
        return bad + await self._keep([(record, note) for record, note in told if isinstance(note, Note)])

    async def _tell_issued(self, letters: Sequence[Issued]) -> list[Bad]:
        bad: list[Bad] = []
        missing, give_up_at = await self._all_new(letters), self._patience.give_up_at()
        attempts, first_at_ms = 0, int(time.time() * 1000)
        while missing:
            attempts += 1
            believed, missing = await self._believe(missing)
            tickets = [ticket for _, ticket in believed]
            notes = await self._inbox.notes_of(tickets)
            bad += await self._keep([(letter.record, note) for (letter, _), note in zip(believed, notes, strict=True)])
            await self._remember(tickets)
            if missing and time.monotonic() >= give_up_at:
                self._patience.was_in_vain()
                why = "refused: there is no such ticket"
                return bad + [
                    Bad(letter.record, why, Reason.UNKNOWN_TICKET, attempts, first_at_ms) for letter in missing
                ]
            if missing:
                await asyncio.sleep(ASK_AGAIN_S)
        return bad

    async def _all_new(self, letters: Sequence[Issued]) -> Sequence[Issued]:
        """The usual batch: all new, and as SQL has them. → those that are still to be looked at."""
        # Of several that name one ticket only one can be true.
        named = {letter.fact.ticket_id: letter for letter in letters}
        tickets = sorted((letter.fact for letter in named.values()), key=attrgetter("ticket_id"))
        if not tickets or not await self._inbox.add_issued(tickets):
            return letters

        async def notes_for(users: Collection[str]) -> list[Note]:
            return await self._inbox.notes_of([ticket for ticket in tickets if ticket.user_id in users])

        await self._spread([ticket.user_id for ticket in tickets], notes_for)
        await self._remember(tickets)
        return [letter for letter in letters if named[letter.fact.ticket_id] is not letter]

    async def _believe(self, letters: Sequence[Issued]) -> tuple[list[tuple[Issued, TicketIssued]], list[Issued]]:
        tickets = await self._inbox.tickets({letter.fact.ticket_id for letter in letters})
        found = [(letter, tickets.get(letter.fact.ticket_id)) for letter in letters]
        believed = [(letter, ticket) for letter, ticket in found if ticket and agrees(letter.fact, ticket)]
        return believed, [letter for letter, ticket in found if not agrees(letter.fact, ticket)]

    async def _keep(self, told: Sequence[tuple[Record, Note]]) -> list[Bad]:
        """Inbox rows first, then the channels for what is new. A repeat finds nothing new and tells nobody."""
        added = await self._inbox.add([note for _, note in told])
        new = {note.name: note for _, note in told if note.name in added.new}
        await self._spread([name.user_id for name in new], written(list(new.values())))
        refused = {note.name: reason for note, reason in added.refused}
        return [
            Bad(record, f"refused by SQL: {refused[note.name]}", Reason.REFUSED_BY_SQL)
            for record, note in told
            if note.name in refused
        ]

    async def _spread(self, user_ids: Sequence[str], notes_for: NotesFor) -> None:
        """These have a new row each: the channels are told."""
        failpoint("notification.kept")
        await self._channels.deliver(user_ids, notes_for)
        failpoint("notification.told")
        self.signals["told"].fire(len(user_ids))

    async def _remember(self, tickets: Sequence[TicketIssued]) -> None:
        await self._outcomes.add(tickets)
        failpoint("notification.remembered")

    async def _bury(self, bad: Sequence[Bad]) -> None:
        await self._dead_letters.bury(
            [(each.record, Failure(each.kind, each.reason, each.attempts, each.first_at_ms)) for each in bad]
        )
        failpoint("notification.buried")
        for letter in bad:
            DEAD_LETTERS.labels(letter.record.topic, letter.kind.value).inc()
        log.warning("dead letters", count=len(bad), first=bad[0].reason)
        self.signals["dead"].fire(len(bad))


class _Patience:
    """How long to wait for tickets that SQL does not have: after a wait in vain, for a while not at all."""

    def __init__(self) -> None:
        self._in_vain_at = -math.inf

    def give_up_at(self) -> float:
        now = time.monotonic()
        return now if now - self._in_vain_at < IN_VAIN_S else now + BELIEVE_S

    def was_in_vain(self) -> None:
        self._in_vain_at = time.monotonic()
