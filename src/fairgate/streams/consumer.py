"""A member of a consumer group, for asyncio: batches come out, commits go in. The thread behind it is `polling.py`,
whose head explains how claims on partitions begin and end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fairgate.config import Config
from fairgate.errors import Unavailable
from fairgate.streams.handover import HandOver
from fairgate.streams.polling import ANSWER_S, Poller
from fairgate.streams.records import Batch, Where
from fairgate.streams.settings import connection

# The hand-over, in records: two of the largest batches. Below LOW the partitions flow again.
HIGH, LOW = 20_000, 5_000
STOP_S = 15.0


class ConsumerBroken(Unavailable):
    """The thread ended. Stop this consumer and start a new one."""

    kind, title = "consumer-broken", "The Kafka consumer ended"


def settings(config: Config, group: str, slot: int, *, ends: bool = False, leaves: bool = False) -> dict[str, Any]:
    """F22. `ends`: tell where a partition ends, so that transaction markers do not look like work left. `leaves`: the
    member must be able to leave; by the newer protocol a static one cannot, by the classic one it can.
    """
    classic = {
        "session.timeout.ms": config.group_session_s * 1000,
        "heartbeat.interval.ms": 3_000,
        "partition.assignment.strategy": "cooperative-sticky",
    }
    # The newer protocol has these at the broker, and the client refuses them. `auto` is what every broker speaks.
    newer = config.group_protocol == "consumer"
    protocol = {"group.protocol": "consumer"} if newer else classic
    membership = {} if newer and leaves else {"group.instance.id": f"{group}-{slot}"}
    return {
        **connection(config),
        **protocol,
        **membership,
        "group.id": group,
        "client.id": f"{group}-{slot}",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "earliest",
        "isolation.level": "read_committed",
        "max.poll.interval.ms": max(config.max_poll_interval_s, config.group_session_s) * 1000,
        "enable.partition.eof": ends,
        # A record is here a moment after it was written; an empty fetch waits at the broker, not here, and costs
        # it as much as a full one.
        "fetch.min.bytes": 1,
        "fetch.wait.max.ms": 500,
        "fetch.error.backoff.ms": 50,
        # A paused partition throws away what was fetched ahead: fetch no more than the hand-over can take.
        "queued.min.messages": HIGH,
        "queued.max.messages.kbytes": 16_384,
        "socket.timeout.ms": 6_000,
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 1_000,
    }


class GroupConsumer:
    """A static member of a consumer group. `group` and `topics` with their prefix.

    `commits=True` is for who commits by `commit` (and not by a transaction): then the ends of quiet partitions are
    committed too. `leaves=True` gives the partitions back at `stop`; otherwise the next process of the same slot finds
    them as they were, nobody rebalances, and if none comes others get them when the session ends.
    """

    def __init__(
        self,
        config: Config,
        *,
        group: str,
        topics: Sequence[str],
        slot: int,
        commits: bool = True,
        leaves: bool = False,
    ) -> None:
        self.group = group
        self._hand_over = HandOver(HIGH, LOW)
        self._arrived = asyncio.Event()
        self._poller = Poller(
            settings(config, group, slot, ends=commits, leaves=leaves),
            topics,
            self._hand_over,
            self._wake,
            commits=commits,
            leaves=leaves,
        )

    async def start(self) -> None:
        """Returns at once; the group is joined in the thread."""
        self._loop = asyncio.get_running_loop()
        self._poller.start()

    async def stop(self, within_s: float = STOP_S) -> None:
        """Finish or drop what was taken first: the partitions go with this. Raises `TimeoutError`."""
        self._poller.stop()
        async with asyncio.timeout(within_s):
            while self._poller.is_alive() and not self._poller.ended:
                self._arrived.clear()
                await self._arrived.wait()

    async def next_batch(self, max_records: int = 10_000, within_s: float = 1.0) -> Batch | None:
        """What has come, at once; else wait for the first record; None when the time is up.

        Tell `done` (or `commit`) of every batch: a revocation waits for it. Raises `ConsumerBroken`.
        """
        batch = self._take(max_records)
        if batch is None:
            try:
                async with asyncio.timeout(within_s):
                    await self._arrived.wait()
            except TimeoutError:
                return None
            batch = self._take(max_records)
        return batch

    async def commit(self, batch: Batch, positions: Mapping[Where, int] | None = None) -> None:
        """Commit the whole batch, which is done then; or `positions` of it, and tell `done` later. Only what is still
        ours is committed: the rest somebody else reads again.

        Raises `Unavailable`: then commit again, or tell `done` and `rewind`.
        """
        wanted = batch.positions if positions is None else positions
        await self._ask(lambda: self._poller.commit(wanted, batch.claims))
        if positions is None:
            self.done(batch)

    async def commit_claimed(self, positions: Mapping[Where, int], claims: Mapping[Where, int]) -> None:
        """These positions, of several batches, where the claim still holds. Raises `Unavailable`: repeat it."""
        await self._ask(lambda: self._poller.commit(positions, claims))

    def done(self, batch: Batch) -> None:
        """No effect of this batch, or of any part of it, is under way any more."""
        self._hand_over.done(batch)

    def take_up(self, batch: Batch) -> None:
        """Work on a batch that was left alone (`done`) goes on: ask `still_ours` after this, not before."""
        self._hand_over.take_up(batch)

    def committed(self, positions: Mapping[Where, int]) -> None:
        """A transaction committed these: told so that the lag is known."""
        self._poller.positions.committed(positions)

    async def rewind(self) -> None:
        """Drop everything, end all claims and read again from the committed offsets.

        Raises `Unavailable`: repeat it before taking the next batch.
        """
        await self._ask(self._poller.rewind)

    async def read_committed(self, wheres: Sequence[Where]) -> dict[Where, int]:
        """What the group has committed, as the coordinator says; 0 where nothing is. Raises `Unavailable`."""
        found: dict[Where, int] = {}
        await self._ask(lambda: found.update(self._poller.committed(wheres)))
        return found

    def pause(self) -> None:
        """Poll, but hand nothing more over; holds for partitions that come later too."""
        self._poller.held = True

    def resume(self) -> None:
        self._poller.held = False

    def owns(self, where: Where, claim: int) -> bool:
        return self._poller.ownership.token(where) == claim

    @property
    def assignment(self) -> list[Where]:
        return self._poller.ownership.owned()

    @property
    def rebalances(self) -> int:
        """How often partitions came or went."""
        return self._poller.rebalances

    @property
    def backlog(self) -> int:
        """Records that wait in the hand-over."""
        return self._hand_over.records

    def lag(self) -> dict[Where, int]:
        """Records that are not committed, per partition of ours, as of the last second."""
        return self._poller.positions.lag(self.assignment)

    def _take(self, max_records: int) -> Batch | None:
        self._arrived.clear()
        batch = self._hand_over.take(max_records)
        if batch is None and self._poller.ended:
            raise ConsumerBroken(self._poller.failed or "it was stopped")
        return batch

    def _wake(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._arrived.set)

    async def _ask(self, work: Callable[[], None]) -> None:
        """Run in the thread. Raises `Unavailable`."""
        answer: asyncio.Future[None] = self._loop.create_future()

        def settle(error: Exception | None) -> None:
            if answer.done():
                return
            if error is None:
                answer.set_result(None)
            else:
                answer.set_exception(Unavailable(f"Kafka: {error}"))

        def command() -> None:
            try:
                work()
            except Exception as error:
                self._loop.call_soon_threadsafe(settle, error)
            else:
                self._loop.call_soon_threadsafe(settle, None)

        if self._poller.ended:
            raise ConsumerBroken(self._poller.failed or "it was stopped")
        self._poller.ask(command)
        try:
            async with asyncio.timeout(3 * ANSWER_S):
                await answer
        except TimeoutError:
            raise Unavailable("Kafka does not answer") from None
