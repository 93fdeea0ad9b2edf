"""Where something ran: for who compares two reports."""

from __future__ import annotations

import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import psutil

from fairgate import __version__
from fairgate.local.supervisor import Stack

GIT_S = 5.0


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """`began` in UTC, to the minute. `commit` of the source that ran."""

    began: str
    cores: int
    memory_gib: float
    system: str
    versions: dict[str, str]
    commit: str

    @property
    def rows(self) -> list[tuple[str, str]]:
        """For people."""
        return [
            ("when", self.began),
            ("machine", f"{self.cores} cores, {self.memory_gib:g} GiB, {self.system}"),
            *self.versions.items(),
            ("commit", self.commit),
        ]


def machine(began: str, versions: dict[str, str]) -> Machine:
    """This one. `versions` of the servers."""
    return Machine(
        began=began,
        cores=psutil.cpu_count() or 0,
        memory_gib=round(psutil.virtual_memory().total / 2**30, 1),
        system=f"{platform.system()} {platform.release()}",
        versions={"Fairgate": __version__, "Python": platform.python_version(), **versions},
        commit=_commit(),
    )


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


def versions_of(stack: Stack) -> dict[str, str]:
    """Of servers that are ours."""
    return {
        "Apache Kafka": stack.kafka.version,
        "Valkey": stack.valkey.version,
        "PostgreSQL": stack.postgres.version,
    }


def _commit() -> str:
    """Of the source that runs, where it is a working tree."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty"],  # noqa: S607 - whichever git the developer has
            cwd=Path(__file__).parent, capture_output=True, text=True, timeout=GIT_S, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip()
