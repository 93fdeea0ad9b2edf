"""A network that can be broken: a TCP proxy before each listener, in a thread of its own.

The protocol. What a cut network does to TCP is that nothing arrives: not the bytes, not the end of a connection, not
the news that the other side is gone. So a held direction stops being read, and its end is not passed on either; when
the link is whole again the bytes go on, as after retransmissions. New connections hang half-open meanwhile. A link is
held for all who use it, or for one source: Kafka's first request names its client (`broker-2-fetcher-0`).
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, Literal

import uvloop

from fairgate.local.ports import LOOPBACK

Way = Literal["there", "back", "both"]
CHUNK = 64 * 1024
READY_S = 10.0


class Link:
    """One listener and what it stands before. Methods are called in the proxy's thread, through `Network`."""

    def __init__(self, name: str, port: int, target: int) -> None:
        self.name, self.port, self.target = name, port, target
        self.delay_s = 0.0
        self._held: dict[str, set[str]] = {"there": set(), "back": set()}  # way → prefixes of sources
        self._changed = asyncio.Event()
        self._flows: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._serve, LOOPBACK, self.port, limit=CHUNK)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        await self.reset()

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
            if not data:
                raise ConnectionResetError("the end of one side is the end of both")
            writer.write(data)
            await writer.drain()


def client_of(first: bytes) -> str:
    """Who a Kafka request is from: length, key, version, correlation, client's id. Empty for other protocols."""
    if len(first) < 14:
        return ""
    (length,) = struct.unpack_from(">h", first, 12)
    return first[14 : 14 + length].decode(errors="replace") if 0 < length <= len(first) - 14 else ""


class Network:
    """All links. Every method may be called from any thread and returns when it is done."""

    def __init__(self) -> None:
        self._links: dict[str, Link] = {}
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fairgate-network", daemon=True)
        self._thread.start()

    def add(self, name: str, port: int, target: int) -> None:
        """Listen on `port` and carry to `target`, which need not be there yet."""

        async def open_link() -> None:
            link = self._links[name] = Link(name, port, target)
            await link.open()

        self._do(open_link())

    @property
    def names(self) -> list[str]:
        return list(self._links)

    def front(self, name: str) -> int:
        """The port that clients are told."""
        return self._links[name].port

    def cut(self, name: str, way: Way = "both", source: str = "") -> None:
        """Nothing gets through any more, in one direction or in both; for clients whose id begins with `source`."""
        self._call(lambda: self._links[name].hold(way, source))

    def delay(self, name: str, seconds: float) -> None:
        """Every chunk takes this much longer, in each direction."""
        self._call(lambda: setattr(self._links[name], "delay_s", seconds))

    def reset(self, name: str) -> None:
        """End every connection."""
        self._do(self._links[name].reset())

    def lead(self, name: str, target: int) -> None:
        """From now on to another server: what a virtual address does at a fail-over. Old connections end."""
        self._call(lambda: setattr(self._links[name], "target", target))
        self.reset(name)

    def heal(self) -> None:
        """Every link is whole again."""
        for link in list(self._links.values()):
            self._call(link.heal)

    def close(self) -> None:
        for link in list(self._links.values()):
            with contextlib.suppress(Exception):
                self._do(link.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(READY_S)

    def _call(self, work: Callable[[], None]) -> None:
        async def in_loop() -> None:
            work()

        self._do(in_loop())

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        future: Future[None] = asyncio.run_coroutine_threadsafe(work, self._loop)
        future.result(READY_S)
