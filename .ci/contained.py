"""Run a command within a time, and see that it leaves no process behind.

    contained.py <seconds> <command> …

Exit status: the command's own; 124 when its time was up; 1 when it ended well but left processes, which are ended and
named. On Linux whatever the command started is found, also what was moved to another session; elsewhere only its
process group.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
# What is told to stop at the end of the tests may need a moment.
LEFT_S, ENDING_S = 10.0, 30.0


def main() -> int:
    if sys.platform == "linux":  # orphans of the command become ours instead of init's
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    bound_s, command = float(sys.argv[1]), sys.argv[2:]
    process = subprocess.Popen(command, start_new_session=True)  # noqa: S603 - our own caller's words
    child = process.pid  # it is reaped below, with everybody else
    ended: dict[int, int] = {}
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: os.killpg(child, signal.SIGINT))
    if not wait_for(child, bound_s, ended):
        print(f"✗ not finished after {bound_s:.0f} s", file=sys.stderr)  # noqa: T201 - a command line
        end(child, ended)
        ended[child] = 124
    left = remaining(LEFT_S)
    for pid, name in left.items():
        print(f"✗ left running: {name} (pid {pid})", file=sys.stderr)  # noqa: T201 - a command line
    while still := remaining(0.0):
        for pid in still:
            os.kill(pid, signal.SIGKILL)
    return ended[child] or int(bool(left))


def wait_for(child: int, within_s: float, ended: dict[int, int]) -> bool:
    """Whether it ended in time. Orphans are reaped meanwhile, at once as by init: a test may look for them."""
    deadline = time.monotonic() + within_s
    while child not in ended and time.monotonic() < deadline:
        ended |= reap()
        time.sleep(0.02)
    return child in ended


def end(child: int, ended: dict[int, int]) -> None:
    """In order, then by force."""
    for number in (signal.SIGINT, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, number)
        if wait_for(child, ENDING_S, ended):
            return


def remaining(within_s: float) -> dict[int, str]:
    """Pid → name of our descendants that still run when the time is up; empty as soon as there are none."""
    deadline = time.monotonic() + within_s
    while True:
        reap()
        found = descendants()
        if not found or time.monotonic() >= deadline:
            return found
        time.sleep(0.1)


def reap() -> dict[int, int]:
    """Pid → exit status of the children that ended."""
    found: dict[int, int] = {}
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            status = os.waitstatus_to_exitcode(ended[1])
            found[ended[0]] = status if status >= 0 else 128 - status
    return found


def descendants() -> dict[int, str]:
    """Of this process, without zombies. Where there is no /proc: none are seen."""
    parents: dict[int, tuple[int, str]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, rest = stat.read_text().split(" (", 1)
        except OSError:
            continue  # gone meanwhile
        name, _, fields = rest.rpartition(") ")
        state, parent = fields.split()[:2]
        if state != "Z":
            parents[int(pid)] = (int(parent), name)
    ours = {os.getpid()}
    while more := {pid for pid, (parent, _) in parents.items() if parent in ours} - ours:
        ours |= more
    return {pid: parents[pid][1] for pid in ours - {os.getpid()}}


if __name__ == "__main__":
    sys.exit(main())
