"""Positions and states to who watches a line (F17). Pushes are a convenience: `GET /queue/position` is the answer."""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Protocol, TypeVar

import msgspec
import structlog

from fairgate.domain.ids import event_id as valid_event_id
from fairgate.domain.place import Place
from fairgate.errors import FairgateError, InvalidRequest
from fairgate.http.answers import place_body
from fairgate.http.live_pace import pause_s
from fairgate.http.live_sockets import Connection, Sockets
from fairgate.http.live_wire import Wire, event
from fairgate.http.services import PublicBoard, Queue
from fairgate.lifecycle import Service

log = structlog.get_logger("fairgate.live")

TICK_S = 1.0
LINES_PER_SOCKET = 8
# One script call's worth. What is left is due at the next call, at once.
POSITIONS_MAX = 1_000
# Between two pieces of work of this many pushes, everybody else has a turn.
PUSHES_AT_ONCE = 200
# Bounds of the pipeline behind the line (`admission/pace.py`).
SLOWED = ("lag", "outbox", "pipeline")
# Due, with the state and without it.
_AT_ONCE, _SOON = -1.0, 0.0

T = TypeVar("T")


class Positions(Queue, Protocol):
    """What the queue stage answers here."""

    async def positions(self, event_id: str, users: Sequence[str]) -> list[Place]: ...


class LineState(msgspec.Struct, frozen=True, rename="camel"):
    """The payload of `queue:state`. `rate` in admissions per second; `bound` is what decides how many pass now;
    `recovering` only while it is.
    """

    event_id: str
    state: str
    rate: float
    size: int
    sold_out: bool
    bound: str
    recovering: bool | msgspec.UnsetType = msgspec.UNSET


class Watch(Service):
    """One batched question per line and tick, however many watch it. Signals: `positions` and `states` per push."""

    name = "live-positions"
    idle_s = TICK_S

    def __init__(self, queue: Positions, sockets: Sockets, wire: Wire) -> None:
        super().__init__()
        self._queue, self._sockets, self._wire = queue, sockets, wire
        self._due: dict[str, dict[str, float]] = defaultdict(dict)  # event id → sid → when
        self._told: dict[str, tuple[str, float, bool, bool, bool]] = {}

    def begin(self, connection: Connection, event_id: object) -> str:
        """Watch this line from now on; state and position come at once. Returns the id of the line.

        Raises `InvalidRequest` (also for too many lines) and `UnknownLine`.
        """
        wanted = valid_event_id(event_id)
        if wanted not in connection.lines and len(connection.lines) >= LINES_PER_SOCKET:
            raise InvalidRequest(f"at most {LINES_PER_SOCKET} lines per connection")
        self._queue.line(wanted)
        connection.lines.add(wanted)
        self._due[wanted][connection.sid] = _AT_ONCE
        self.wake.set()
        return wanted

    def end(self, connection: Connection, event_id: str | None = None) -> None:
        """This line, or all."""
        for line in [event_id] if event_id is not None else list(connection.lines):
            connection.lines.discard(line)
            watchers = self._due.get(line, {})
            watchers.pop(connection.sid, None)
            if not watchers:
                self._due.pop(line, None)
                self._told.pop(line, None)

    async def run_once(self) -> bool:
        failed: FairgateError | None = None
        more = False
        for event_id in list(self._due):
            try:
                more |= await self._tick(event_id)
            except FairgateError as error:  # one line that is being prepared holds up no other
                failed = error
        if failed is not None:
            raise failed
        return more

    async def _tick(self, event_id: str) -> bool:
        board = await self._queue.board(event_id)
        await self._tell_state(event_id, board)
        now = time.monotonic()
        due = [sid for sid, at in self._due.get(event_id, {}).items() if at <= now]
        await self._tell_positions(event_id, board, due[:POSITIONS_MAX])
        return len(due) > POSITIONS_MAX

    async def _tell_state(self, event_id: str, board: PublicBoard) -> None:
        # Between its own bounds a line changes all the time; that the pipeline slows it is news.
        slowed = board.bound in SLOWED
        state = (board.line.state.value, board.line.rate, board.line.sold_out, board.recovering, slowed)
        before = self._told.get(event_id)
        self._told[event_id] = state
        if before is not None and before != state:
            await self._push(event_id, list(self._due.get(event_id, {})), event("queue:state", _state(board)))

    async def _push(self, event_id: str, sids: list[str], packet: str) -> None:
        for some in _pieces(sids):
            for sid in some:
                connection = self._sockets.get(sid)
                if connection is not None:
                    await self._wire.send(connection.eio_sid, packet)
                    self._due[event_id][sid] = _SOON  # what has changed for all has changed for each
                    self.signals["states"].fire()
            await asyncio.sleep(0)

    async def _tell_positions(self, event_id: str, board: PublicBoard, sids: list[str]) -> None:
        watchers = [connection for sid in sids if (connection := self._sockets.get(sid)) is not None]
        if not watchers:
            return
        users = list(dict.fromkeys(connection.user_id for connection in watchers))
        places = await self._queue.positions(event_id, users)
        if len(places) != len(users):
            log.warning("positions without owners are told to nobody", asked=len(users), answered=len(places))
            return
        known = dict(zip(users, places, strict=True))
        for some in _pieces(watchers):
            for connection in some:
                await self._tell_one(event_id, board, connection, known[connection.user_id])
            await asyncio.sleep(0)

    async def _tell_one(self, event_id: str, board: PublicBoard, connection: Connection, place: Place) -> None:
        watchers = self._due.get(event_id)
        if watchers is None or connection.sid not in watchers:
            return
        if watchers[connection.sid] == _AT_ONCE:
            await self._wire.send(connection.eio_sid, event("queue:state", _state(board)))
        # Spread, so that who came in the same second is not told in the same second for ever.
        watchers[connection.sid] = time.monotonic() + pause_s(place, board.line.rate) * random.uniform(0.9, 1.0)
        packet = event("queue:position", place_body(self._queue, event_id, connection.user_id, place))
        await self._wire.send(connection.eio_sid, packet)
        self.signals["positions"].fire()


def _state(board: PublicBoard) -> bytes:
    line = board.line
    recovering = board.recovering or msgspec.UNSET
    return msgspec.json.encode(
        LineState(line.event_id, line.state.value, line.rate, board.size, line.sold_out, board.bound, recovering)
    )


def _pieces(items: list[T]) -> Iterator[list[T]]:
    for start in range(0, len(items), PUSHES_AT_ONCE):
        yield items[start : start + PUSHES_AT_ONCE]
