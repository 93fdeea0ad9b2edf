"""Every role's own small server: `/healthz`, `/readyz`, `/metrics`. Plain asyncio, so that it costs nothing idle."""

from __future__ import annotations

import asyncio
import contextlib
from http import HTTPStatus

from fairgate.http.health import EXPOSITION, Readiness, readiness
from fairgate.http.listening import listening
from fairgate.telemetry import exposition

HEAD_MAX_BYTES = 8_192
# A scraper that says nothing for so long is not one.
REQUEST_S = 10.0
CONNECTIONS_MAX = 64


class OpsServer:
    """Not for the public: `/readyz` says in words what is wrong. Every answer closes its connection."""

    def __init__(
        self,
        *,
        host: str,
        port: int,
        ready: Readiness,
        hint: str = "move it with --ops-port (FAIRGATE_OPS_PORT), or the whole stack with --port-base",
    ) -> None:
        self._host, self._port, self._ready, self._hint = host, port, ready, hint
        self._server: asyncio.Server | None = None
        self._open = 0

    @property
    def port(self) -> int:
        assert self._server is not None, "not started"
        return int(self._server.sockets[0].getsockname()[1])

    async def start(self) -> None:
        """Raises `ConfigError` for a taken port."""
        bound = listening(self._host, self._port, hint=self._hint)
        self._server = await asyncio.start_server(self._serve, sock=bound, limit=HEAD_MAX_BYTES)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            async with asyncio.timeout(REQUEST_S):
                if self._open <= CONNECTIONS_MAX:
                    writer.write(self._answer(await reader.readuntil(b"\r\n\r\n")))
                    await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # whoever asked is gone, or never asked
        finally:
            self._open -= 1
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _answer(self, head: bytes) -> bytes:
        method, _, rest = head.partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0]
        if method not in (b"GET", b"HEAD"):
            return _reply(405, b'{"status":"GET only"}', extra="allow: GET, HEAD\r\n")
        status, body, kind = self._resource(path)
        return _reply(status, body, kind, head_only=method == b"HEAD")

    def _resource(self, path: bytes) -> tuple[int, bytes, str]:
        if path == b"/healthz":
            return 200, b'{"status":"ok"}', "application/json"
        if path == b"/readyz":
            return *readiness(self._ready()), "application/json"
        if path == b"/metrics":
            return 200, exposition(), EXPOSITION
        return 404, b'{"status":"not found"}', "application/json"


def _reply(
    status: int, body: bytes, kind: str = "application/json", *, head_only: bool = False, extra: str = ""
) -> bytes:
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n"
        f"x-content-type-options: nosniff\r\ncache-control: no-store\r\n{extra}connection: close\r\n\r\n"
    )
    return head.encode() + (b"" if head_only else body)
