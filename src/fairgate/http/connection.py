"""One HTTP connection as uvicorn speaks it, with the bounds that it lacks: the size of a head, and time.

uvicorn sets a timer per idle connection and per answer; here each connection has one deadline, and the server looks at
all of them once a second. So a client that sends its head a byte at a time is cut as well.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from fairgate.errors import FairgateError, InvalidRequest
from fairgate.http.problems import HeadersTooLarge, render

if TYPE_CHECKING:
    import asyncio

# A cookie, a token and a browser's own headers take 2 KiB.
HEAD_MAX_BYTES = 16_384
# From the first byte (or the connection) to the whole request.
REQUEST_S = 15.0
# From the whole request to the end of the answer: above every bound of the application.
ANSWER_S = 40.0


class Connection(HttpToolsProtocol):
    """uvicorn's protocol with deadlines."""

    deadline = math.inf
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.deadline = self.loop.time() + REQUEST_S

    def close_if_late(self, now: float) -> None:
        """Cut whoever has kept us waiting, and an answer that nobody reads."""
        if now >= self.deadline and not self.transport.is_closing():
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Counts a head's bytes until it is whole: the parser itself would gather without end."""
        self._head_bytes += len(data)
        if self._head_bytes > HEAD_MAX_BYTES + len(data):
            self._refuse(HeadersTooLarge())
            return
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            if not self.transport.is_closing():
                self._refuse(InvalidRequest("this is not HTTP"))
        except httptools.HttpParserUpgrade:
            self.upgrade_asked()

    def upgrade_asked(self) -> None:
        """We offer no other protocol: the request is answered as it is, and nothing can follow it."""
        self.cycle.keep_alive = False

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self.idle:
            self.deadline = self.loop.time() + REQUEST_S

    @property
    def idle(self) -> bool:
        """Whether no answer is owed: the next request is the first in the pipeline."""
        return self.cycle is None or self.cycle.response_complete

    def on_headers_complete(self) -> None:
        self._head_bytes = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._head_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._head_bytes = 0
        self.deadline = self.loop.time() + ANSWER_S
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Like uvicorn's, with a deadline for the next request instead of a timer."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self.flow.read_paused:
            self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self.deadline = self.loop.time() + ANSWER_S
            self._start_asgi_task(cycle, app)
        else:
            self.deadline = self.loop.time() + self.timeout_keep_alive

    def _refuse(self, error: FairgateError) -> None:
        """For what never became a request. Nothing may follow on this connection."""
        answer = render(error)
        content: list[Any] = [STATUS_LINE[answer.status]]
        for name, value in [*self.server_state.default_headers, *answer.headers, (b"connection", b"close")]:
            content += [name, b": ", value, b"\r\n"]
        self.transport.write(b"".join([*content, b"\r\n", answer.body]))
        self.transport.close()
