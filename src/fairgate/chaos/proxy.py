"""A network that can be broken: a TCP proxy before each listener. This is the process of all proxies (`network.py`
starts it and gives the orders): with the crowd in one, the crowd's work would slow the network.

The protocol. What a cut network does to TCP is that nothing arrives: not the bytes, not the end of a connection, not
the news that the other side is gone. So a held direction stops being read, and its end is not passed on either; when
the link is whole again the bytes go on, as after retransmissions. New connections hang half-open meanwhile. A link is
held for all who use it, or for one source: Kafka's first request names its client (`broker-2-fetcher-0`).
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from typing import Literal

import msgspec
import uvloop

from fairgate.local.ports import LOOPBACK

Way = Literal["there", "back", "both"]
CHUNK = 64 * 1024


class Link:
    """One listener and what it stands before."""

    def __init__(self, name: str, port: int, target: int) -> None:
        self.name, self.port, self.target = name, port, target
        self.delay_s = 0.0
        self._held: dict[str, set[str]] = {"there": set(), "back": set()}  # way → prefixes of sources
        self._changed = asyncio.Event()
        self._flows: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._serve, LOOPBACK, self.port, limit=CHUNK)

    async def reset(self) -> None:
        """End every connection now."""
        flows = list(self._flows)
        for flow in flows:
            flow.cancel()
        await asyncio.gather(*flows, return_exceptions=True)

    def hold(self, way: Way, source: str) -> None:
        for each in ("there", "back") if way == "both" else (way,):
            self._held[each].add(source)
        self._wake()

    def heal(self) -> None:
        self.delay_s = 0.0
        for sources in self._held.values():
            sources.clear()
        self._wake()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _is_held(self, way: str, source: str) -> bool:
        return any(source.startswith(prefix) for prefix in self._held[way])

    async def _free(self, way: str, source: str) -> None:
        while self._is_held(way, source):
            await self._changed.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._flows.add(task)
        try:
            await self._carry(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass  # one side is gone: the other is told by the end of its connection
        finally:
            self._flows.discard(task)
            writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._free("there", "")  # held for everybody: not even a connection gets through
        first = await reader.read(CHUNK)
        source = client_of(first)
        await self._free("there", source)
        far_reader, far_writer = await asyncio.open_connection(LOOPBACK, self.target, limit=CHUNK)
        try:
            far_writer.write(first)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pump("there", source, reader, far_writer))
                both.create_task(self._pump("back", source, far_reader, writer))
        except* OSError:
            pass
        finally:
            far_writer.transport.abort()

    async def _pump(self, way: str, source: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            data = await reader.read(CHUNK)
            if self.delay_s:
                await asyncio.sleep(self.delay_s)
            await self._free(way, source)
            if not data or writer.transport.is_closing():
                raise ConnectionResetError("the end of one side is the end of both")
            writer.write(data)
            await writer.drain()


def client_of(first: bytes) -> str:
    """Who a Kafka request is from: length, key, version, correlation, client's id. Empty for other protocols."""
    if len(first) < 14:
        return ""
    (length,) = struct.unpack_from(">h", first, 12)
    return first[14 : 14 + length].decode(errors="replace") if 0 < length <= len(first) - 14 else ""


class Order(msgspec.Struct, omit_defaults=True):
    """What `Network` asks for; the fields that a verb needs. Without a `name`, `heal` is for all links."""

    verb: Literal["add", "hold", "delay", "lead", "heal"]
    name: str = ""
    port: int = 0
    target: int = 0
    way: Way = "both"
    source: str = ""
    seconds: float = 0.0


class Links:
    """All of them, by name."""

    def __init__(self) -> None:
        self._links: dict[str, Link] = {}

    async def obey(self, order: Order) -> None:
        """Raises `OSError` where a port is taken."""
        if order.verb == "heal":
            for link in self._links.values():
                link.heal()
        elif order.verb == "add":
            link = Link(order.name, order.port, order.target)
            await link.open()
            self._links[order.name] = link
        else:
            await self._change(self._links[order.name], order)

    async def _change(self, link: Link, order: Order) -> None:
        match order.verb:
            case "hold":
                link.hold(order.way, order.source)
            case "delay":
                link.delay_s = order.seconds
            case "lead":
                link.target = order.target
                await link.reset()


async def serve(orders: socket.socket) -> None:
    """Each order is a line and is answered by one: null, or what went wrong. The end of the orders is ours, too."""
    reader, writer = await asyncio.open_connection(sock=orders)
    links, decoder = Links(), msgspec.json.Decoder(Order)
    while line := await reader.readline():
        wrong: str | None = None
        try:
            await links.obey(decoder.decode(line))
        except OSError as error:
            wrong = str(error)
        writer.write(msgspec.json.encode(wrong) + b"\n")
        await writer.drain()


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as ours:
        uvloop.run(serve(ours))
