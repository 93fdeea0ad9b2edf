"""Bring back what died: one thread that looks at every child and starts again what should be running."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from fairgate.local.children import Child

LOOK_EVERY_S = 0.2
# At once for a single crash; a process that cannot start must not eat a core.
BACKOFF_FIRST_S, BACKOFF_MAX_S = 0.2, 10.0
# Who ran this long was healthy: its next crash is a new story.
HEALTHY_S = 30.0


class Watch:
    """Starts with `start`, ends with `stop`. `tell` hears of each restart."""

    def __init__(self, children: Callable[[], Sequence[Child]], tell: Callable[[str], None]) -> None:
        self._children, self._tell = children, tell
        self._delay_s: dict[str, float] = {}
        self._started_at: dict[str, float] = {}
        self._ended_at: dict[str, float] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fairgate-watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """After this nothing is restarted any more."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(LOOK_EVERY_S):
            for child in self._children():
                if child.running or not child.wanted:
                    self._ended_at.pop(child.name, None)
                elif not self._stopping.is_set():
                    self._revive(child)

    def _revive(self, child: Child) -> None:
        """After a pause from its end on: what needs seconds to fail must not fail without a break."""
        now = time.monotonic()
        if child.name not in self._ended_at:
            self._note_end(child.name, now)
        if now < self._ended_at[child.name] + self._delay_s[child.name]:
            return
        code = child.exit_code
        if child.revive():
            self._started_at[child.name] = now
            self._tell(f"{child.name} ended ({_cause(code)}) and was started again")

    def _note_end(self, name: str, now: float) -> None:
        healthy = now - self._started_at.get(name, float("-inf")) > HEALTHY_S
        self._delay_s[name] = BACKOFF_FIRST_S if healthy else min(self._delay_s[name] * 2, BACKOFF_MAX_S)
        self._ended_at[name] = now


def _cause(code: int | None) -> str:
    return f"signal {-code}" if code is not None and code < 0 else f"exit status {code}"
