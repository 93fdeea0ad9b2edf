"""Which process may use which core, where the system lets us say so."""

from __future__ import annotations

import os
from pathlib import Path


def can_pin() -> bool:
    return hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > 1


def pin(pid: int, core: int | None) -> bool:
    """The process and all its threads on one core. `pid` 0 is this one. → whether it is so now."""
    if core is None or not can_pin():
        return False
    threads = Path(f"/proc/{pid or os.getpid()}/task")
    try:
        for thread in threads.iterdir() if threads.exists() else ():
            os.sched_setaffinity(int(thread.name), {core})
    except OSError:
        return False
    return True


def unpin(pid: int) -> None:
    """On every core again."""
    if not can_pin():
        return
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), range(os.cpu_count() or 1))
