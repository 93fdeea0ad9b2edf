"""Small file systems that can be really full: ENOSPC from the kernel, not from a pretence.

Mounting needs a right: root's, or that of a user namespace of our own (`enter_namespace`, before any thread starts).
Without either the scenario says that it was not run.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
from pathlib import Path

CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000
MS_REC, MS_PRIVATE, MS_NOSUID, MS_NODEV = 0x4000, 0x40000, 0x2, 0x4
MNT_DETACH = 2
FILLER = "fairgate-filler"
BLOCK = 1 << 20

_libc = ctypes.CDLL(None, use_errno=True)


class CannotMount(OSError):
    """Neither root nor a user namespace."""


def enter_namespace() -> bool:
    """Mounts of this process and its children are theirs alone, and vanish with them. → whether mounting is possible.

    To be called before any thread starts; where that is too late, root mounts where everybody sees it.
    """
    user, group = os.getuid(), os.getgid()
    flags = CLONE_NEWNS if user == 0 else CLONE_NEWNS | CLONE_NEWUSER
    if _libc.unshare(flags) != 0:
        return user == 0
    if user != 0:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    return bool(_libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None) == 0)


class Disk:
    """A file system of `size` bytes on `place`. Its content is gone with `unmount`."""

    def __init__(self, place: Path, size: int) -> None:
        self.place, self.size = place, size

    def mount(self) -> None:
        """Raises `CannotMount`."""
        self.place.mkdir(parents=True, exist_ok=True)
        options = f"size={self.size},mode=0700".encode()
        if _libc.mount(b"tmpfs", str(self.place).encode(), b"tmpfs", MS_NOSUID | MS_NODEV, options) != 0:
            why = ctypes.get_errno()
            raise CannotMount(why, f"no small file system for {self.place}: {os.strerror(why)}")

    def unmount(self) -> None:
        """Also while somebody still has a file open there. Nothing happens when it is not mounted."""
        _libc.umount2(str(self.place).encode(), MNT_DETACH)

    def fill(self) -> int:
        """Take the last byte. → bytes taken."""
        with (self.place / FILLER).open("ab", buffering=0) as filler:
            for block in (BLOCK, 4096, 1):
                with contextlib.suppress(_Full):
                    while True:
                        _write(filler.fileno(), b"\0" * block)
            return filler.tell()

    def empty(self) -> None:
        """Give back what `fill` took."""
        (self.place / FILLER).unlink(missing_ok=True)


class _Full(Exception):
    pass


def _write(file: int, data: bytes) -> None:
    try:
        os.write(file, data)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise _Full from None
        raise
