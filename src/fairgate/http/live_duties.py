"""What keeps a live process hearing: its presence, its ear for hints, and the sweep for what was never heard."""

from __future__ import annotations

import asyncio
import time

import msgspec
import structlog

from fairgate.errors import Unavailable
from fairgate.http.live_delivery import Delivery
from fairgate.http.live_sockets import Sockets
from fairgate.lifecycle import Service
from fairgate.notification.inbox import Inbox
from fairgate.stores.hints import decoded_hints
from fairgate.stores.presence import HEARTBEAT_S, Ear, Presence

log = structlog.get_logger("fairgate.live")

# A lost hint is found within this; hints are lost while Valkey fails over, not on a normal day.
SWEEP_S = 5.0
# Each heartbeat comes back to us through our own channel. A listener that misses four is deaf, whatever it believes.
DEAF_S = 4 * HEARTBEAT_S
# A client that connects while Valkey is away is served from SQL; presence is repaired later.
REGISTER_S = 1.0
_BEAT = b"[]"


class PresenceKeeper(Service):
    """Keeps Valkey's idea of who is here equal to ours. Signals: `changed`, `beat`, `repaired`."""

    name = "live-presence"
    idle_s = HEARTBEAT_S

    def __init__(self, process: str, presence: Presence, sockets: Sockets) -> None:
        super().__init__()
        self._process, self._presence, self._sockets = process, presence, sockets
        self._changed: set[str] = set()
        self._writing: set[str] = set()
        self._written: set[str] = set()
        self._beat_at = 0.0

    async def here(self, user_id: str) -> None:
        """Returns when presence knows of this user's first socket, or cannot know soon."""
        self._changed.add(user_id)
        try:
            async with asyncio.timeout(REGISTER_S):
                while self.failing is None and not self._known(user_id):
                    async with self.signals["changed"].expect():
                        self.wake.set()
        except TimeoutError:
            log.warning("presence is slow: the sweep serves meanwhile")

    def _known(self, user_id: str) -> bool:
        return user_id in self._written and user_id not in self._changed and user_id not in self._writing

    def gone(self, user_id: str) -> None:
        self._changed.add(user_id)

    async def run_once(self) -> bool:
        await self._write_changes()
        if time.monotonic() - self._beat_at >= HEARTBEAT_S / 2:
            await self._beat()
        return bool(self._changed)

    async def teardown(self) -> None:
        await self._presence.leave(self._process)

    async def _write_changes(self) -> None:
        self._writing, self._changed = self._changed, set()
        came = {user for user in self._writing if user in self._sockets.users}
        went = self._writing - came
        try:
            if self._writing:
                await self._presence.change(self._process, came, went)
                self._written = (self._written | came) - went
        except Unavailable:
            self._changed |= self._writing
            raise
        finally:
            self._writing = set()
            self.signals["changed"].fire()

    async def _beat(self) -> None:
        there = await self._presence.beat(self._process)
        await self._presence.tell([(self._process, _BEAT)])
        self._beat_at = time.monotonic()
        self.signals["beat"].fire()
        if there != len(self._written):
            log.warning("presence is written anew", there=there, here=len(self._written))
            self._changed |= self._written | set(self._sockets.users)
            self.signals["repaired"].fire()


class Hints(Service):
    """This process's ear. Signals: `listening` per subscription, `alive` per message, `heard` per hint."""

    name = "live-hints"

    def __init__(self, process: str, presence: Presence, delivery: Delivery, sweep: Sweep) -> None:
        super().__init__()
        self._process, self._presence, self._delivery, self._sweep = process, presence, delivery, sweep

    async def run_once(self) -> bool:
        """One subscription, until it ends or is found deaf."""
        async with self._presence.listening(self._process) as ear:
            self._sweep.wake.set()  # for what was said while nobody listened
            self.goes_well()
            self.signals["listening"].fire()
            await self._listen(ear)
        return True

    async def _listen(self, ear: Ear) -> None:
        heard_at = time.monotonic()
        while not self.stopping:
            message = await ear.hear(0.5)
            if message is not None:
                heard_at = time.monotonic()
                self.signals["alive"].fire()
                await self._take(message)
            elif time.monotonic() - heard_at > DEAF_S:
                raise Unavailable("the channel for hints is deaf")

    async def _take(self, message: str) -> None:
        try:
            hints = decoded_hints(message)
        except msgspec.MsgspecError:
            log.warning("a hint cannot be read", bytes=len(message))
            return
        for count, hint in enumerate(hints, 1):
            await self._delivery.offer(hint.user_id, hint.id, hint.kind, bytes(hint.payload))
            if count % 100 == 0:
                await asyncio.sleep(0)  # who connects or answers meanwhile is served too
        self.signals["heard"].fire(len(hints))


class Sweep(Service):
    """The net below the hints: what was kept for connected users since the last look. Signal: `swept`."""

    name = "live-sweep"
    idle_s = SWEEP_S

    def __init__(self, inbox: Inbox, delivery: Delivery, sockets: Sockets) -> None:
        super().__init__()
        self._inbox, self._delivery, self._sockets = inbox, delivery, sockets
        self._edge: str | None = None

    async def run_once(self) -> bool:
        if self._edge is None:
            self._edge = await self._inbox.edge()
        edge, found = await self._inbox.since(self._edge, list(self._sockets.users))
        for user_id, item in found:
            await self._delivery.offer(user_id, item.id, item.kind, msgspec.json.encode(item.payload))
        self._edge = edge
        self.signals["swept"].fire()
        return False
