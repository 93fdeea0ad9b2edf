"""The live role: Socket.IO for browsers (F17, F18), one port per process.

A connection is served in this order, so that nothing falls between: the session is checked, the socket enters its
user's room, presence is told (from here on hints come), and only then is the inbox read for what is unseen.

Events to the client: `ticket:issued` and `notification` (both want an acknowledgement), `queue:position`,
`queue:state`. Events from the client: `queue:watch` and `queue:unwatch` with `{"eventId"}`; nothing else means
anything. `auth` of the connection is `{"token", "eventId"?, "eventIds"?}`; without a token the session's cookie counts.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import socketio
import structlog

from fairgate.config import Config
from fairgate.errors import FairgateError, InvalidRequest, NoSession, TooManyRequests, Unavailable
from fairgate.http.gate import TOKEN_MAX, cookie_of
from fairgate.http.live_delivery import Delivery
from fairgate.http.live_duties import Hints, PresenceKeeper, Sweep
from fairgate.http.live_sockets import Connection, Sockets
from fairgate.http.live_watch import LINES_PER_SOCKET, Positions, Watch
from fairgate.http.live_wire import Wire
from fairgate.lifecycle import Service
from fairgate.notification.inbox import Inbox
from fairgate.stores.presence import Presence
from fairgate.telemetry import SOCKETS

log = structlog.get_logger("fairgate.live")

Authenticate = Callable[[str], Awaitable[str]]

AUTHENTICATE_S = 5.0
# A session that ended is noticed within two rounds of a third of the minute that is promised.
RECHECK_S = 20.0
RECHECKS_AT_ONCE = 100
# The official client says who it is in the first message after the handshake.
INTRODUCE_S = 10.0
DRAIN_S = 3.0


class LiveServer:
    """`app` is the ASGI application; `services` are its duties, upstream first: start them from the end.

    `authenticate(token)` returns the user id or raises `NoSession`. `queue` is the queue stage of this process.
    """

    def __init__(
        self, config: Config, *, inbox: Inbox, presence: Presence, authenticate: Authenticate, queue: Positions
    ) -> None:
        self.process = f"{config.instance or 'live'}-{secrets.token_hex(6)}"
        self._authenticate = authenticate
        self.sockets = Sockets()
        self.wire = Wire(config, self._acknowledged)
        self.delivery = Delivery(inbox, self.sockets, self.wire)
        self.sweep = Sweep(inbox, self.delivery, self.sockets)
        self.keeper = PresenceKeeper(self.process, presence, self.sockets)
        self.hints = Hints(self.process, presence, self.delivery, self.sweep)
        self.watch = Watch(queue, self.sockets, self.wire)
        self.guard = Guard(self.sockets, self.wire, authenticate)
        self.services: list[Service] = [
            self.guard, self.watch, self.hints, self.sweep, self.delivery, self.keeper
        ]  # fmt: skip
        self._draining = False
        self.app = self.wire.app
        self.wire.sio.on("connect", self._connect)
        self.wire.sio.on("disconnect", self._disconnect)
        self.wire.sio.on("queue:watch", self._watch)
        self.wire.sio.on("queue:unwatch", self._unwatch)

    async def drain(self) -> None:
        """Close every transport, so that clients go to another process, or come back to the next one here."""
        self._draining = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_S):
                for eio_sid in self.wire.transports():
                    await self.wire.drop(eio_sid)
                await self.wire.sio.shutdown()

    async def _connect(self, sid: str, environ: Mapping[str, Any], auth: object = None) -> bool:
        """Raises `socketio.exceptions.ConnectionRefusedError` for whom trying again does not help."""
        eio_sid = self.wire.eio_sid(sid)
        try:
            if self._draining:
                raise Unavailable("this process is going away")
            connection = await self._introduced(sid, eio_sid, _token(auth, environ))
        except Unavailable:
            await self.wire.drop(eio_sid)  # the official client tries again by itself
            return False
        except FairgateError as error:
            raise _refusal(error) from None
        if not self.wire.alive(eio_sid):  # it went while we asked: the library would keep it for ever
            self._disconnect(sid)
            return False
        self._watch_first(connection, auth)
        return True

    async def _introduced(self, sid: str, eio_sid: str, token: str) -> Connection:
        user_id = await _within(self._authenticate(token))
        connection = Connection(sid, eio_sid, user_id, token)
        first = self.sockets.add(connection)
        SOCKETS.set(len(self.sockets))
        await self.wire.enter(sid, user_id)
        if first:
            await self.keeper.here(user_id)
        if self.sockets.get(sid) is connection:
            self.delivery.arrived(user_id, eio_sid)
        return connection

    def _watch_first(self, connection: Connection, auth: object) -> None:
        """Lines named with the connection; one that does not exist is passed over, since there is nobody to tell."""
        for event_id in _first_lines(auth):
            with contextlib.suppress(FairgateError):
                self.watch.begin(connection, event_id)

    def _disconnect(self, sid: str, reason: object = None) -> None:
        connection, last = self.sockets.remove(sid)
        SOCKETS.set(len(self.sockets))
        if connection is None:
            return
        self.watch.end(connection)
        if last:
            self.delivery.gone(connection.user_id)
            self.keeper.gone(connection.user_id)

    def _acknowledged(self, sid: str, ack_id: int) -> None:
        self.delivery.acknowledged(sid, ack_id)

    def _watch(self, sid: str, asked: object = None, *_: object) -> dict[str, object]:
        """The answer goes to the client's acknowledgement, where it wants one."""
        return self._answered(sid, lambda connection: self.watch.begin(connection, _event_of(asked)))

    def _unwatch(self, sid: str, asked: object = None, *_: object) -> dict[str, object]:
        def end(connection: Connection) -> str:
            self.watch.end(connection, event_id := _event_of(asked))
            return event_id

        return self._answered(sid, end)

    def _answered(self, sid: str, work: Callable[[Connection], str]) -> dict[str, object]:
        connection = self.sockets.get(sid)
        try:
            if connection is None:
                raise NoSession
            if not connection.may_ask():
                raise TooManyRequests
            return {"ok": True, "eventId": work(connection)}
        except FairgateError as error:
            return {"ok": False, "error": error.kind, "detail": error.detail}


class Guard(Service):
    """Cuts who may no longer stay: sessions that ended, and transports that never said who they are.

    Signals: `checked` per round of sessions, `cut` per socket.
    """

    name = "live-guard"
    idle_s = 2.0

    def __init__(self, sockets: Sockets, wire: Wire, authenticate: Authenticate) -> None:
        super().__init__()
        self._sockets, self._wire, self._authenticate = sockets, wire, authenticate
        self._strangers: dict[str, float] = {}
        self._checked_at = time.monotonic()

    async def run_once(self) -> bool:
        await self._cut_strangers()
        if time.monotonic() - self._checked_at >= RECHECK_S:
            await self.check_sessions()
        return False

    async def check_sessions(self) -> None:
        """Every token once more. While sessions cannot be asked about, nobody is cut."""
        self._checked_at = time.monotonic()
        tokens = list({connection.token for connection in self._sockets})
        ended: set[str] = set()
        for start in range(0, len(tokens), RECHECKS_AT_ONCE):
            some = tokens[start : start + RECHECKS_AT_ONCE]
            ended.update(token for token, over in zip(some, await self._over(some), strict=True) if over)
        for connection in self._sockets:
            if connection.token in ended:
                await self._wire.dismiss(connection.sid)
                self.signals["cut"].fire()
        self.signals["checked"].fire()

    async def _over(self, tokens: list[str]) -> list[bool]:
        answers = await asyncio.gather(*(_within(self._authenticate(t)) for t in tokens), return_exceptions=True)
        return [isinstance(answer, NoSession) for answer in answers]

    async def _cut_strangers(self) -> None:
        now = time.monotonic()
        unknown = [eio_sid for eio_sid in self._wire.transports() if not self._sockets.known(eio_sid)]
        self._strangers = {eio_sid: self._strangers.get(eio_sid, now) for eio_sid in unknown}
        for eio_sid, since in self._strangers.items():
            if now - since >= INTRODUCE_S:
                await self._wire.drop(eio_sid)
                self.signals["cut"].fire()


async def _within(answer: Awaitable[str]) -> str:
    """Raises `NoSession`, and `Unavailable` also for an answer that does not come."""
    try:
        async with asyncio.timeout(AUTHENTICATE_S):
            return await answer
    except TimeoutError:
        raise Unavailable("sessions cannot be checked right now") from None


def _token(auth: object, environ: Mapping[str, Any]) -> str:
    """Raises `NoSession`."""
    token = auth.get("token") if isinstance(auth, dict) else None
    if token is None:
        token = cookie_of(str(environ.get("HTTP_COOKIE", "")))
    if not isinstance(token, str) or not 0 < len(token) <= TOKEN_MAX:
        raise NoSession
    return token


def _first_lines(auth: object) -> list[object]:
    if not isinstance(auth, dict):
        return []
    several = auth.get("eventIds")
    lines = list(several[:LINES_PER_SOCKET]) if isinstance(several, list) else []
    return [*([auth["eventId"]] if "eventId" in auth else []), *lines]


def _event_of(asked: object) -> str:
    event_id = asked.get("eventId") if isinstance(asked, dict) else None
    if not isinstance(event_id, str):
        raise InvalidRequest('expected {"eventId": "…"}')
    return event_id


def _refusal(error: FairgateError) -> Exception:
    """The client's `connect_error`: the message is the problem's kind."""
    refusal: Exception = socketio.exceptions.ConnectionRefusedError(error.kind, {"detail": error.detail})
    return refusal
