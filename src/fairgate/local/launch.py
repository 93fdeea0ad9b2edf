"""Run a program so that it cannot outlive the process that asked for it, nor keep root's powers.

Started as a script of its own (`python -I -S launch.py PARENT SIGNAL USER PROGRAM ARGUMENT…`), because only a process
can ask the kernel for its own parent-death signal, and because code between fork and exec is unsafe beside threads.
USER is `-` for "as I am". Imports nothing of Fairgate: it must start in milliseconds.

The order matters: changing the user clears the parent-death signal, so that comes after; and the parent may have died
before the signal was asked for, so it is compared after.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import sys

PR_SET_PDEATHSIG, PR_SET_KEEPCAPS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE = 1, 8, 47, 2
CAP_DAC_READ_SEARCH = 2
CAPABILITY_VERSION_3 = 0x20080522


def drop_root(user: str) -> None:
    """Become `user`, keeping only the right to walk through directories that belong to root.

    PostgreSQL refuses to run as root, and its data may lie below a directory that root alone may enter. The usual way
    out is to open those directories to everybody; this opens nothing.
    """
    entry = pwd.getpwnam(user)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)
    _keep_only(libc, CAP_DAC_READ_SEARCH)
    os.environ.update(HOME="/", USER=user, LOGNAME=user)


def _keep_only(libc: ctypes.CDLL, capability: int) -> None:
    """Without it (a container that took it away) the program still runs wherever the paths are open to it."""
    mask = 1 << capability
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    data = (ctypes.c_uint32 * 6)(mask, mask, mask, 0, 0, 0)
    if libc.capset(header, data) == 0:
        libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0)
    else:
        libc.capset(header, (ctypes.c_uint32 * 6)())


def die_with(parent: int, signal: int) -> None:
    """Linux only; elsewhere an orderly stop is all there is."""
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("the parent died before its child started")


if __name__ == "__main__":
    parent, death_signal, user, program = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:]
    if user != "-":
        drop_root(user)
    die_with(parent, death_signal)
    os.execvp(program[0], program)  # noqa: S606 - replacing ourselves without a shell is the point
