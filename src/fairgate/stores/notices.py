"""Hears what is published on a channel of Valkey. A notice only makes things quicker: a lost one costs a sweep."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fairgate.errors import Unavailable
from fairgate.lifecycle import Service
from fairgate.stores.valkey import translated

HEAR_S = 0.25


class Listener(Service):
    """Calls `heard` with each message; `listening_again` whenever notices may have been missed."""

    idle_s = 0.0

    def __init__(
        self, valkey: Any, channel: str, heard: Callable[[str], None], listening_again: Callable[[], None]
    ) -> None:
        super().__init__()
        self.name = f"hears-{channel}"
        self._valkey, self._channel, self._heard, self._listening_again = valkey, channel, heard, listening_again
        self._pubsub: Any = None

    async def run_once(self) -> bool:
        try:
            message = await self._hear()
        except Unavailable:
            self._pubsub = None  # whatever was said meanwhile is lost
            raise
        if message is not None:
            self._heard(message["data"])
        return True

    async def _hear(self) -> Any:
        with translated():
            if self._pubsub is None:
                pubsub = self._valkey.pubsub(ignore_subscribe_messages=True)
                await pubsub.subscribe(self._channel)
                self._pubsub = pubsub
                self._listening_again()
            return await self._pubsub.get_message(timeout=HEAR_S)

    async def teardown(self) -> None:
        if self._pubsub is not None:
            await self._pubsub.aclose()
