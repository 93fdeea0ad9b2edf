"""Hears that somebody joined an empty line, so that admission polls no line at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fairgate.stores.keys import WAKE_CHANNEL
from fairgate.stores.notices import Listener


class JoinListener(Listener):
    """A lost notice costs the waiter one sweep (`owner.SWEEP_S`)."""

    def __init__(self, valkey: Any, someone_joined: Callable[[str], None], listening_again: Callable[[], None]) -> None:
        super().__init__(valkey, WAKE_CHANNEL, someone_joined, listening_again)
        self.name = "join-listener"
