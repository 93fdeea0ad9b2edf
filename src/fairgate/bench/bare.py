"""An HTTP server that has one answer to everything: what a loop, a parser and the kernel cost by themselves.

python -m fairgate.bench.bare <port> < answer
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import httptools
import uvloop

from fairgate.local.ports import LOOPBACK


class Connection(asyncio.Protocol):
    """Parses what comes, with the parser of the API, and answers each request."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._parser = httptools.HttpRequestParser(self)

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        """Here, since the parser calls for nobody who does not ask; the same below."""

    def on_header(self, name: bytes, value: bytes) -> None: ...

    def on_message_complete(self) -> None:
        self._transport.write(self._answer)


async def serve(port: int, answer: bytes) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: Connection(answer), LOOPBACK, port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), sys.stdin.buffer.read()))
