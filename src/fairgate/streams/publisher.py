"""Publishes from asyncio and waits for Kafka's word; what fails throws the producer away, and the caller repeats."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from fairgate.errors import Unavailable
from fairgate.streams.producer import OrderedProducer, Record

# Kafka moves a partition's leader within this when a broker dies. Longer is a stall.
STALL_S = 10.0


class Publisher:
    """One producer in a thread of its own. One caller at a time."""

    def __init__(self, make: Callable[[], OrderedProducer], name: str) -> None:
        self._make = make
        self._producer: OrderedProducer | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)

    async def publish(self, topic: str, records: Sequence[Record]) -> None:
        """Return when Kafka has all of (key, value, headers). Raises `Unavailable` after at most `STALL_S`."""
        try:
            if not await self._in_thread(self._send_and_wait, topic, records):
                raise Unavailable(f"Kafka has not acknowledged within {STALL_S:.0f} s")
        except Exception:
            await self._in_thread(self._throw_away)
            raise

    async def close(self) -> None:
        await self._in_thread(self._throw_away)
        self._thread.shutdown(wait=False)

    def _send_and_wait(self, topic: str, records: Sequence[Record]) -> bool:
        if self._producer is None:
            self._producer = self._make()
        self._producer.send(topic, records)
        return self._producer.all_acknowledged(STALL_S)

    def _throw_away(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.throw_away()

    async def _in_thread(self, call: Callable[..., object], *args: object) -> object:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call, *args)
