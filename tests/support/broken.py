"""A role that is broken on purpose, in a process of its own: `python -m tests.support.broken <role> <how>`.

Each dies hard, once it has done the wrong half and before it does the other.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from fairgate.admission.steps import Steps
from fairgate.config import Config
from fairgate.notification.tell import Notification
from fairgate.runner import run_role
from fairgate.stores import claims

DIED = 9


def commit_before_the_effect() -> None:
    """Notification commits its batch, and dies before it has told anybody."""

    async def run_once(self: Notification) -> bool:
        consumer = await self._running_consumer()
        batch = await self._next(consumer)
        if batch is not None:
            await consumer.commit(batch)
            os._exit(DIED)
        return True

    Notification.run_once = run_once  # type: ignore[method-assign]


def pop_before_the_claim() -> None:
    """Admission takes people out of the line without a claim, and dies before they are in SQL."""
    claimed = "redis.call('ZADD', KEYS[2], unpack(scored))"
    text = claims._CLAIM.text
    assert text.count(claimed) == 1
    claims._CLAIM.text = text.replace(claimed, "")

    async def admit(self: Steps, batches: Any) -> Any:
        os._exit(DIED)

    Steps.admit = admit  # type: ignore[method-assign]


if __name__ == "__main__":
    globals()[sys.argv[2]]()
    run_role(sys.argv[1], Config())
