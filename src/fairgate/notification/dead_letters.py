"""Sends dead letters and returns when Kafka has them: only then are the offsets committed."""

from __future__ import annotations

from collections.abc import Sequence

from fairgate.config import Config
from fairgate.streams.dead_letters import Failure, dead_letter, reader
from fairgate.streams.records import Record
from fairgate.streams.sender import Sender


class DeadLetters:
    """`group`, without its prefix, signs the letters."""

    def __init__(self, config: Config, group: str) -> None:
        self._reader, self._sender = reader(config, group), Sender(config)

    async def bury(self, failed: Sequence[tuple[Record, Failure]]) -> None:
        """Raises `Unavailable` when not all are acknowledged: then send them all again, a repeat does no harm."""
        await self._sender.send([dead_letter(record, failure, self._reader) for record, failure in failed])
