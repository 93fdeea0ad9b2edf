"""Socket.IO as the official client speaks it; the only file that knows python-socketio.

A user's room is named by a keyed hash that the process draws at its start: the server alone enters rooms, and no name
that a client could send means anything. Acknowledgement ids are chosen by the caller, so that sending again costs no
memory: the library's own callbacks would pile up for a client that never answers.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import Callable
from typing import Any

import socketio
from engineio.exceptions import EngineIOError

from fairgate.config import Config
from fairgate.errors import OriginRefused
from fairgate.http.gate import Gate

# Clients send a token, ids and acknowledgements.
MESSAGE_MAX_BYTES = 8_192
# Below the 30 s after which many proxies cut a silent connection; a dead phone is noticed within 45 s.
PING_EVERY_S, PING_ANSWER_S = 25, 20
# A reader that is so far behind reads nothing: its queue would grow for ever.
UNREAD_MAX = 256

Acknowledged = Callable[[str, int], None]


class Wire:
    """`handlers` get connect, disconnect and events; `acknowledged(sid, ack id)` each Socket.IO acknowledgement."""

    def __init__(self, config: Config, acknowledged: Acknowledged) -> None:
        self._gate, self._api_port = Gate(config), config.ports.api
        self._key = secrets.token_bytes(32)
        self._rooms = _Rooms(acknowledged)
        quiet = _quiet_logger()
        self.sio = socketio.AsyncServer(
            client_manager=self._rooms,
            async_mode="asgi",
            async_handlers=False,  # a client's next event waits for its last one
            cors_allowed_origins=self._origin_allowed,
            max_http_buffer_size=MESSAGE_MAX_BYTES,
            ping_interval=PING_EVERY_S,
            ping_timeout=PING_ANSWER_S,
            http_compression=False,  # messages are small, and secrets must not be compressed beside what others chose
            logger=quiet,
            engineio_logger=quiet,
        )
        self.app = socketio.ASGIApp(self.sio)

    def eio_sid(self, sid: str) -> str:
        return str(self._rooms.eio_sid_from_sid(sid, "/"))

    def room(self, user_id: str) -> str:
        return "user:" + hashlib.blake2b(user_id.encode(), key=self._key, digest_size=16).hexdigest()

    async def enter(self, sid: str, user_id: str) -> None:
        """Into the room of this user, by the server's decision only."""
        await self.sio.enter_room(sid, self.room(user_id))

    async def to_user(self, user_id: str, packet: str) -> int:
        """To every socket of the user. Returns how many."""
        members = list(self._rooms.get_participants("/", self.room(user_id)))
        for _, eio_sid in members:
            await self.send(eio_sid, packet)
        return len(members)

    async def send(self, eio_sid: str, packet: str) -> None:
        """Queued for this socket; nothing happens where it is gone. Who does not read is dropped."""
        socket = self.sio.eio.sockets.get(eio_sid)
        if socket is None or socket.closed:
            return
        if socket.queue.qsize() >= UNREAD_MAX:
            await self.drop(eio_sid)
            return
        try:
            await self.sio.eio.send(eio_sid, packet)
        except EngineIOError:
            await self.drop(eio_sid)

    async def drop(self, eio_sid: str) -> None:
        """Close the transport: the official client comes back by itself."""
        socket = self.sio.eio.sockets.pop(eio_sid, None)
        if socket is not None and not socket.closed:
            await socket.close(wait=False, reason=self.sio.reason.SERVER_DISCONNECT)
            socket.queue.put_nowait(None)  # the writer closes the transport, whether the client agrees or not

    async def dismiss(self, sid: str) -> None:
        """End the session's socket: the official client does not come back by itself."""
        await self.sio.disconnect(sid)

    def alive(self, eio_sid: str) -> bool:
        socket = self.sio.eio.sockets.get(eio_sid)
        return socket is not None and not socket.closed

    def transports(self) -> list[str]:
        """Every open one, also of who has not said who they are."""
        return list(self.sio.eio.sockets)

    def _origin_allowed(self, origin: str, environ: dict[str, Any]) -> bool:
        """As for the API; and the API's own pages, which differ from here in the port only."""
        host = str(environ.get("HTTP_HOST", ""))
        for here in (host, f"{_hostname(host)}:{self._api_port}"):
            try:
                self._gate.admit_origin(origin, here, by_cookie=False)
            except OriginRefused:
                continue
            return True
        return False


def event(name: str, payload: bytes, ack_id: int | None = None) -> str:
    """A Socket.IO EVENT of the default namespace; `payload` is JSON. `name` is ours: it needs no escaping."""
    return f'2{"" if ack_id is None else ack_id}["{name}",{payload.decode()}]'


class _Rooms(socketio.AsyncManager):  # type: ignore[misc]
    """The library's manager, but a disconnect looks only at the rooms of who goes: the library's looks at all, which
    takes milliseconds with ten thousand users, for each of ten thousand users.
    """

    def __init__(self, acknowledged: Acknowledged) -> None:
        super().__init__()
        self._acknowledged = acknowledged
        self._rooms_of: dict[tuple[str, str], set[str | None]] = {}

    def basic_enter_room(self, sid: str, namespace: str, room: str | None, eio_sid: str | None = None) -> None:
        super().basic_enter_room(sid, namespace, room, eio_sid=eio_sid)
        self._rooms_of.setdefault((namespace, sid), set()).add(room)

    def basic_disconnect(self, sid: str, namespace: str, **_: Any) -> None:
        for room in self._rooms_of.pop((namespace, sid), ()):
            self.basic_leave_room(sid, namespace, room)
        for waiting in (self.pending_connect, self.pending_disconnect):
            if sid in waiting.get(namespace, ()):
                waiting[namespace].remove(sid)
                if not waiting[namespace]:
                    del waiting[namespace]

    async def trigger_callback(self, sid: str, id: int, data: object) -> None:
        self._acknowledged(sid, id)


def _hostname(host: str) -> str:
    """Without the port; an IPv6 address keeps its brackets."""
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() else host


def _quiet_logger() -> logging.Logger:
    """What clients send wrongly is their affair: no line, and no stack trace, for each."""
    quiet = logging.getLogger("fairgate.live.protocol")
    quiet.setLevel(logging.CRITICAL)
    return quiet
