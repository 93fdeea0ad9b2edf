"""What a rehearsal of faults changes about the servers; the default is what `fairgate up` starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Layout:
    """`controllers`: KRaft controllers apart from the brokers; 0 makes every node both.

    `fronts`: server → the port that its clients are told instead of its own: something stands before it there. Known
    are `kafka-<n>`, `valkey`, `postgres`, and `kafka-<n>-peer`: with it the brokers talk to each other through a
    listener apart from the clients'. Before whose clients something stands, that broker has one more listener without.
    """

    controllers: int = 0
    fronts: Mapping[str, int] = field(default_factory=dict)

    def port(self, server: str, own: int) -> int:
        """What the server's clients are told."""
        return self.fronts.get(server, own)
