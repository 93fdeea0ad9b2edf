"""Keeps a process's idea of sessions fresh: what was revoked elsewhere, and the store's generation."""

from __future__ import annotations

import time

from fairgate.lifecycle import Service
from fairgate.users.sessions import Sessions

# A logout holds everywhere within two seconds: one to ask, one for a slow answer.
REFRESH_S = 1.0
TIDY_S = 60.0


class SessionKeeper(Service):
    name = "sessions"
    idle_s = REFRESH_S

    def __init__(self, sessions: Sessions) -> None:
        super().__init__()
        self._sessions = sessions
        self._tidied_at = time.monotonic()

    async def run_once(self) -> bool:
        await self._sessions.refresh()
        self.signals["refreshed"].fire()
        if time.monotonic() - self._tidied_at >= TIDY_S:
            self._tidied_at = time.monotonic()
            await self._sessions.tidy()
        return False
