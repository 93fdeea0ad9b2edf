"""Who is connected to this process: sockets by id and by user, each with its bounds. No I/O here."""

from __future__ import annotations

import time
from collections.abc import Iterator, KeysView

from fairgate.errors import TooManyRequests

# Tabs and devices of one person; more is a program.
PER_USER = 16
# A client asks for a line when a page opens. Who asks all the time is not answered.
ASKS_BURST, ASKS_PER_S = 20.0, 2.0


class Connection:
    """One socket of a user. `token` is asked about again and again: a session ends, a socket does not by itself."""

    __slots__ = ("_asks", "_asks_at", "eio_sid", "lines", "sid", "token", "user_id")

    def __init__(self, sid: str, eio_sid: str, user_id: str, token: str) -> None:
        self.sid, self.eio_sid, self.user_id, self.token = sid, eio_sid, user_id, token
        self.lines: set[str] = set()
        self._asks, self._asks_at = ASKS_BURST, time.monotonic()

    def may_ask(self) -> bool:
        """A bucket of questions, refilled over time."""
        now = time.monotonic()
        self._asks = min(ASKS_BURST, self._asks + (now - self._asks_at) * ASKS_PER_S)
        self._asks_at = now
        if self._asks < 1.0:
            return False
        self._asks -= 1.0
        return True


class Sockets:
    """All of this process."""

    def __init__(self) -> None:
        self._by_sid: dict[str, Connection] = {}
        self._by_user: dict[str, dict[str, Connection]] = {}
        self._eio_sids: set[str] = set()

    def __len__(self) -> int:
        return len(self._by_sid)

    def __iter__(self) -> Iterator[Connection]:
        return iter(list(self._by_sid.values()))

    @property
    def users(self) -> KeysView[str]:
        return self._by_user.keys()

    def add(self, connection: Connection) -> bool:
        """True when this is the user's first. Raises `TooManyRequests`."""
        theirs = self._by_user.get(connection.user_id, {})
        if len(theirs) >= PER_USER:
            raise TooManyRequests(f"at most {PER_USER} connections per user")
        self._by_user.setdefault(connection.user_id, {})[connection.sid] = connection
        self._by_sid[connection.sid] = connection
        self._eio_sids.add(connection.eio_sid)
        return not theirs

    def remove(self, sid: str) -> tuple[Connection | None, bool]:
        """The socket, if it was here, and whether it was the user's last."""
        connection = self._by_sid.pop(sid, None)
        if connection is None:
            return None, False
        self._eio_sids.discard(connection.eio_sid)
        theirs = self._by_user[connection.user_id]
        del theirs[sid]
        if not theirs:
            del self._by_user[connection.user_id]
        return connection, not theirs

    def get(self, sid: str) -> Connection | None:
        return self._by_sid.get(sid)

    def known(self, eio_sid: str) -> bool:
        """Whether somebody has said who they are over this transport."""
        return eio_sid in self._eio_sids
