"""Where librdkafka's own log goes: through ours, and not forty lines a second while a broker is away."""

from __future__ import annotations

import logging
import re
import time

# `FAIL [client#consumer-2] [thrd:host:port/1]: …`: the kind and the client say what repeats.
_SAME = re.compile(r"^\w+ \[[^\]]*\]")
EVERY_S = 10.0


class Sparing(logging.Filter):
    """One line of a kind and client each `EVERY_S`, with the number of those that were kept back."""

    def __init__(self, every_s: float = EVERY_S) -> None:
        super().__init__()
        self._every_s = every_s
        self._seen: dict[str, tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        found = _SAME.match(text)
        kind = found.group() if found else text[:40]
        told_at, kept_back = self._seen.get(kind, (float("-inf"), 0))
        now = time.monotonic()
        if now - told_at < self._every_s:
            self._seen[kind] = (told_at, kept_back + 1)
            return False
        self._seen[kind] = (now, 0)
        if kept_back:
            record.msg, record.args = f"{text} (and {kept_back} more like it)", ()
        return True


kafka_log = logging.getLogger("fairgate.kafka")
kafka_log.addFilter(Sparing())
