"""From the inbox to the sockets (F18): at least once while connected, until acknowledged on any device.

A notification is *pending* for a user who has a socket here from its first push until somebody acknowledges it. Pushed
again after 2 s, 4 s … 30 s, each time unless SQL calls it seen. The client shows an id once.

A ticket's hint may come before its inbox row, which goes by way of Kafka. An acknowledgement that comes before the row
is kept here until there is one.
"""

from __future__ import annotations

import heapq
import itertools
import time
from collections import OrderedDict, defaultdict

import msgspec

from fairgate.failpoints import failpoint
from fairgate.http.live_sockets import Sockets
from fairgate.http.live_wire import Wire, event
from fairgate.lifecycle import Service
from fairgate.notification.inbox import UNSEEN_EACH, Inbox, Name
from fairgate.stores.inbox import TICKET_ISSUED
from fairgate.telemetry import NOTIFICATIONS

AGAIN_FIRST_S, AGAIN_MAX_S = 2.0, 30.0
# One statement's worth; a storm of reconnections is read in pieces so that the first need not wait for the last.
ARRIVALS_MAX, AGAIN_MAX = 500, 1_000
# A row comes after its hint by what Kafka takes. Whoever comes back after that is shown the same id once more.
EARLY_S = 60.0
# A notification that was acknowledged a moment ago may still be on its way here by hint or sweep.
REMEMBERED_MAX = 2 * UNSEEN_EACH

_json = msgspec.json.Encoder()


class _Pending:
    __slots__ = ("ack_id", "due_at", "id", "packet", "pause_s")

    def __init__(self, id: str, ack_id: int, packet: str) -> None:
        self.id, self.ack_id, self.packet, self.pause_s = id, ack_id, packet, AGAIN_FIRST_S
        self.due_at = 0.0


class _Box:
    """What one connected user has been sent and not acknowledged."""

    def __init__(self) -> None:
        self.pending: dict[str, _Pending] = {}
        self.by_ack: dict[int, _Pending] = {}
        self.done: OrderedDict[str, None] = OrderedDict()
        self.next_ack = itertools.count(1)
        self.more = False

    def settle(self, id: str) -> None:
        pending = self.pending.pop(id, None)
        if pending is not None:
            del self.by_ack[pending.ack_id]
        self.done[id] = None
        if len(self.done) > REMEMBERED_MAX:
            self.done.popitem(last=False)


class Delivery(Service):
    """Signals: `pushed` per first push, `again` per repeat, `seen` per acknowledgement that SQL has."""

    name = "live-delivery"
    idle_s = 0.25

    def __init__(self, inbox: Inbox, sockets: Sockets, wire: Wire) -> None:
        super().__init__()
        self._inbox, self._sockets, self._wire = inbox, sockets, wire
        self._boxes: dict[str, _Box] = {}
        self._arrived: dict[str, set[str]] = defaultdict(set)
        self._acknowledged: set[Name] = set()
        self._early: dict[Name, float] = {}  # acknowledged, and not in the inbox yet; until when to ask again
        self._due: list[tuple[float, str, str]] = []

    def arrived(self, user_id: str, eio_sid: str) -> None:
        """This socket is ready, and presence knows: bring it what its user has not seen."""
        self._boxes.setdefault(user_id, _Box())
        self._arrived[user_id].add(eio_sid)
        self.wake.set()

    def gone(self, user_id: str) -> None:
        """The user's last socket: what is unseen stays in the inbox."""
        self._boxes.pop(user_id, None)
        self._arrived.pop(user_id, None)

    def acknowledged(self, sid: str, ack_id: int) -> None:
        """The client's Socket.IO acknowledgement."""
        connection = self._sockets.get(sid)
        box = self._boxes.get(connection.user_id) if connection else None
        pending = box.by_ack.get(ack_id) if box else None
        if connection is None or box is None or pending is None:
            return
        box.settle(pending.id)
        self._acknowledged.add(Name(connection.user_id, pending.id))
        if box.more and not box.pending:
            self._arrived[connection.user_id].add("")  # nobody new, but there is more to read
        self.wake.set()

    async def offer(self, user_id: str, id: str, kind: str, payload: bytes) -> None:
        """Push it unless it was pushed before; to nobody who is not here."""
        box = self._boxes.get(user_id)
        if box is None or id in box.pending or id in box.done:
            return
        if len(box.pending) >= UNSEEN_EACH:
            box.more = True
            return
        failpoint("live.read")
        await self._wire.to_user(user_id, self._new(user_id, box, id, kind, payload).packet)
        failpoint("live.emitted")
        NOTIFICATIONS.labels("live", "pushed").inc()
        self.signals["pushed"].fire()

    async def run_once(self) -> bool:
        await self._flush()
        await self._welcome()
        await self._push_again()
        return bool(self._arrived or self._acknowledged)

    async def teardown(self) -> None:
        await self._flush()

    async def _flush(self) -> None:
        """Acknowledgements to SQL, all that came since the last time together."""
        names = self._acknowledged | self._early.keys()
        if names:
            failpoint("live.acknowledged")
            there = await self._inbox.seen_many(names)
            failpoint("live.seen")
            self._acknowledged -= names
            now = time.monotonic()
            until = {name: self._early.get(name, now + EARLY_S) for name in names - there}
            self._early = {name: end for name, end in until.items() if end > now}
            self.signals["seen"].fire(len(there))

    async def _welcome(self) -> None:
        arrivals = {user: set(self._arrived[user]) for user in itertools.islice(self._arrived, ARRIVALS_MAX)}
        if not arrivals:
            return
        items = await self._inbox.unseen(arrivals)
        counts: dict[str, int] = defaultdict(int)
        for user_id, item in items:
            counts[user_id] += 1
            await self._bring(user_id, arrivals[user_id], item.id, item.kind, _json.encode(item.payload))
        for user_id, eio_sids in arrivals.items():
            self._welcomed(user_id, eio_sids, counts[user_id])

    def _welcomed(self, user_id: str, eio_sids: set[str], unseen: int) -> None:
        later = self._arrived.pop(user_id, set()) - eio_sids
        if later:
            self._arrived[user_id] = later
        if user_id in self._boxes:
            self._boxes[user_id].more = unseen >= UNSEEN_EACH

    async def _bring(self, user_id: str, eio_sids: set[str], id: str, kind: str, payload: bytes) -> None:
        """New here: to all of the user's sockets. Pending already: to those that have just come."""
        box = self._boxes.get(user_id)
        pending = box.pending.get(id) if box else None
        if pending is None:
            await self.offer(user_id, id, kind, payload)
            return
        for eio_sid in eio_sids:
            await self._wire.send(eio_sid, pending.packet)

    async def _push_again(self) -> None:
        due = self._take_due()
        if not due:
            return
        try:
            seen = await self._inbox.seen_among(due)
        except Exception:
            for user_id, id in due:
                if user_id in self._boxes and id in self._boxes[user_id].pending:
                    self._schedule(user_id, self._boxes[user_id].pending[id])
            raise
        # All are scheduled before any is sent: one that cannot be sent must not keep the others from coming again.
        packets = [(name.user_id, self._again(name, name in seen)) for name in due]
        for user_id, packet in packets:
            if packet is not None:
                await self._wire.to_user(user_id, packet)
                self.signals["again"].fire()

    def _again(self, name: Name, seen: bool) -> str | None:
        """What to send now, where somebody still waits for it."""
        box = self._boxes.get(name.user_id)
        pending = box.pending.get(name.id) if box else None
        if box is None or pending is None:
            return None
        if seen:
            box.settle(name.id)
            return None
        pending.pause_s = min(AGAIN_MAX_S, pending.pause_s * 2)
        self._schedule(name.user_id, pending)
        return pending.packet

    def _new(self, user_id: str, box: _Box, id: str, kind: str, payload: bytes) -> _Pending:
        ack_id = next(box.next_ack)
        name = TICKET_ISSUED if kind == TICKET_ISSUED else "notification"
        pending = _Pending(id, ack_id, event(name, payload, ack_id))
        box.pending[id] = pending
        box.by_ack[ack_id] = pending
        self._schedule(user_id, pending)
        return pending

    def _schedule(self, user_id: str, pending: _Pending) -> None:
        pending.due_at = time.monotonic() + pending.pause_s
        heapq.heappush(self._due, (pending.due_at, user_id, pending.id))

    def _take_due(self) -> list[Name]:
        """Those whose time has come; what was settled, or scheduled anew since, is passed over."""
        due: list[Name] = []
        now = time.monotonic()
        while self._due and self._due[0][0] <= now and len(due) < AGAIN_MAX:
            due_at, user_id, id = heapq.heappop(self._due)
            box = self._boxes.get(user_id)
            pending = box.pending.get(id) if box else None
            if pending is not None and pending.due_at == due_at:
                due.append(Name(user_id, id))
        return due
