"""The hot lane: three requests answered by the connection itself, without a task, a scope or an ASGI message.

The protocol. A request for `POST /queue/join`, `GET /queue/position` or `POST /users/sessions` (as a guest) that is
plain in every respect (`plain.py`) is kept from uvicorn: its body is gathered here, its session checked, the batcher
called with a method of the connection as the callback, and the answer written by it. Whatever is not plain goes on to
the application, which answers in the same words: so this lane only has to be right about what it accepts.

A read of a place that is the former one of its connection but for the token (`Known`) does not go through the parser at
all, which stands between two messages before and after it.

A pending hot request stands in `self.cycle` like one of uvicorn's own. So a request that is pipelined behind it waits
its turn in uvicorn's pipeline, a shutdown lets it finish, and a lost connection is seen.
"""

from __future__ import annotations

import time
from typing import Any, ClassVar

import structlog
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from fairgate.domain.place import Place
from fairgate.domain.session import Session
from fairgate.errors import FairgateError, NotYours
from fairgate.http.answers import place_body, session_body, session_cookie
from fairgate.http.connection import ANSWER_S, REQUEST_S, Connection
from fairgate.http.headers import JSON, Header
from fairgate.http.plain import GUEST, JOIN, POSITION, Known, Plain, body_read, cors_lines, kind_of, known, lines, plain
from fairgate.http.problems import Wait, render
from fairgate.http.services import Services
from fairgate.telemetry import REQUESTS
from fairgate.users.sessions import NewSession

log = structlog.get_logger("fairgate.http")

# Heads of different clients: 2 MB at the most.
KNOWN_MAX = 1_024


class Lane:
    """What all connections share: the services, and the heads of answers as bytes, made anew with each Date."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self.queue, self.sessions, self.gate = services.queue, services.sessions, services.gate
        self.body_max = services.config.body_limit_bytes
        self._always = [*services.headers.data, services.headers.no_store]
        self._dated: object = None
        self._heads: dict[int, bytes] = {}
        self._known: dict[tuple[bytes, bytes], Known] = {}

    def head(self, status: int, dated: list[Header]) -> bytes:
        """Up to the value of `content-length`, which ends it."""
        if self._dated is not dated:
            self._dated, self._heads = dated, {}
        made = self._heads.get(status)
        if made is None:
            headers = [*dated, (b"content-type", JSON), *self._always]
            made = self._heads[status] = STATUS_LINE[status] + lines(headers) + b"content-length: "
        return made

    def known(self, data: bytes, request: Plain) -> Known | None:
        """One for all connections: what each of them keeps for itself must be read from far away."""
        made = known(data, request)
        if made is None:
            return None
        if len(self._known) >= KNOWN_MAX:
            self._known.clear()
        return self._known.setdefault((made.before, made.after), made)

    def problem(self, error: FairgateError, request: Plain, dated: list[Header]) -> tuple[int, bytes, bytes]:
        """Status, head and body."""
        answer = render(error, request.language.decode("latin-1"))
        return answer.status, STATUS_LINE[answer.status] + lines([*dated, *answer.headers, *self._always]), answer.body


class _Never:
    """Nobody waits for the body of a hot request."""

    def set(self) -> None:
        pass


class _Pending:
    """What uvicorn looks at in `self.cycle`. One for all hot requests of a connection: they come one by one."""

    def __init__(self) -> None:
        self.response_complete = True
        self.keep_alive = True
        self.disconnected = False
        self.message_event = _Never()


class HotConnection(Connection):
    """`lane` is set by `protocol`."""

    lane: ClassVar[Lane]

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._pending = _Pending()
        self._reading: Plain | None = None  # the body of this one is on its way
        self._request: Plain  # the one in hand
        self._user_id = ""
        self._began = 0.0
        self._known: Known | None = None  # a read as it came here before
        # Of the parser: nothing is half read; how many messages began in these bytes; the read of a place among them.
        self._between, self._messages = True, 0
        self._polled: Plain | None = None

    # ---- was it here before?

    def data_received(self, data: bytes) -> None:
        """What differs from a read of before by its token only needs no parser."""
        whole = self._between
        if whole and self._known is not None and self.idle and not self.flow.write_paused:
            request = self._known.read(data)
            if request is not None:
                self._begin(request, keep_alive=True)
                return
        self._messages, self._polled = 0, None
        super().data_received(data)
        if whole and self._between and self._messages == 1 and self._polled is not None:
            self._known = self.lane.known(data, self._polled)

    # ---- is it hot? (called by the parser)

    def on_message_begin(self) -> None:
        """Without uvicorn's scope: `_ordinary` makes it for who needs it."""
        self._between = False
        self._messages += 1
        self.url = b""
        self.expect_100_continue = False
        self.headers = []
        if self.idle:
            self.deadline = self.loop.time() + REQUEST_S

    def on_headers_complete(self) -> None:
        self._head_bytes = 0
        self._reading = self._plain()
        if self._reading is None:
            self._ordinary()

    def _plain(self) -> Plain | None:
        """A plain request whose turn it is."""
        kind = kind_of(self.url, self.parser.get_method())
        if kind is None or not self.idle or self.flow.write_paused or self.parser.get_http_version() != "1.1":
            return None
        return plain(kind, self.url, self.headers, self.lane.gate, self.lane.body_max)

    def _ordinary(self) -> None:
        """What uvicorn does at the beginning and at the end of a head."""
        url, headers, expect = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expect
        self.headers.extend(headers)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if self._reading is None:
            super().on_body(body)
        else:
            self._head_bytes = 0
            self._reading.body += body

    def on_message_complete(self) -> None:
        self._between = True
        request, self._reading = self._reading, None
        if request is None:
            super().on_message_complete()
        elif request.kind is POSITION or body_read(request):
            keep_alive = self.parser.should_keep_alive()
            if request.kind is POSITION and keep_alive:
                self._polled = request
            self._begin(request, keep_alive=keep_alive)
        else:
            self._hand_on(request.body)

    def _hand_on(self, body: bytes) -> None:
        """To the application after all, with the body that was read."""
        self._ordinary()
        if body:
            super().on_body(body)
        super().on_message_complete()

    # ---- the request

    def _begin(self, request: Plain, *, keep_alive: bool) -> None:
        self._head_bytes = 0
        self._began = time.perf_counter()
        self._request = request
        self.headers = []  # read, and not to be kept while the answer is on its way
        pending = self._pending
        pending.response_complete = False
        pending.keep_alive = keep_alive
        self.cycle = pending  # type: ignore[assignment]
        self.deadline = self.loop.time() + ANSWER_S
        if request.kind is GUEST:
            self._make_guest(request)
        else:
            self.lane.sessions.check(request.token, self._checked)

    def _make_guest(self, request: Plain) -> None:
        services = self.lane.services
        try:
            hops = request.forwarded_for.decode("latin-1")
            wait_s = services.guests.wait_s(services.gate.client_address(self.client[0] if self.client else "", hops))
            if wait_s > 0:
                raise Wait(wait_s)
            self.lane.sessions.create_guest(self._made)
        except Exception as error:
            self._fail(error)

    # ---- answers: called by batchers, which one connection must not hurt. None of them raises.

    def _checked(self, session: Session | FairgateError) -> None:
        request = self._request
        if isinstance(session, FairgateError):
            self._fail(session)
            return
        try:
            if request.named is not None and request.named != session.user_id:
                raise NotYours()
            self._user_id = session.user_id
            queue = self.lane.queue
            if request.kind is JOIN:
                queue.join(request.event_id, session.user_id, self._placed, request.place_token)
            else:
                queue.position(request.event_id, session.user_id, self._placed)
        except Exception as error:
            self._fail(error)

    def _placed(self, place: Place | FairgateError) -> None:
        if isinstance(place, FairgateError):
            self._fail(place)
            return
        try:
            self._write(200, place_body(self.lane.queue, self._request.event_id, self._user_id, place), b"")
        except Exception as error:
            self._fail(error)

    def _made(self, session: NewSession | FairgateError) -> None:
        lane = self.lane
        if isinstance(session, FairgateError):
            self._fail(session)
            return
        try:
            cookie = session_cookie(session.token, lane.sessions.max_age_s, lane.services.headers.https)
            self._write(201, session_body(session), b"set-cookie: %s\r\n" % cookie.encode())
        except Exception as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        if not isinstance(error, FairgateError):
            log.error("a hot request failed", route=self._request.kind, exc_info=error)
            error = FairgateError()
        status, head, body = self.lane.problem(error, self._request, self.server_state.default_headers)
        self._send(status, head, b"", body)

    def _write(self, status: int, body: bytes, extra: bytes) -> None:
        head = self.lane.head(status, self.server_state.default_headers)
        self._send(status, b"%b%d\r\n" % (head, len(body)), extra, body)

    def _send(self, status: int, head: bytes, extra: bytes, body: bytes) -> None:
        pending, request = self._pending, self._request
        if pending.response_complete:
            log.error("a request was answered twice", route=request.kind)
            return
        pending.response_complete = True
        REQUESTS.observe(request.kind, status, time.perf_counter() - self._began)
        if self.transport.is_closing():
            return
        if request.origin is not None:
            extra += cors_lines(request.origin, self.lane.gate)
        end = b"\r\n" if pending.keep_alive else b"connection: close\r\n\r\n"
        self.transport.write(b"".join((head, extra, end, body)))
        if not pending.keep_alive:
            self.transport.close()
        self.on_response_complete()


def protocol(services: Services) -> type[HotConnection]:
    """The class to give to `ApiServer`."""
    return type("HotConnection", (HotConnection,), {"lane": Lane(services)})
