"""CPU time and memory of processes with all that they started."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import psutil


class Usage(NamedTuple):
    """CPU seconds since the process began, its children's with it; resident MiB now."""

    cpu_s: float
    memory_mib: float


def usage(pids: Mapping[str, int]) -> dict[str, Usage]:
    """By name, of those that live."""
    found = {}
    for name, pid in pids.items():
        try:
            process = psutil.Process(pid)
            family = [process, *process.children(recursive=True)]
        except psutil.NoSuchProcess:
            continue
        found[name] = _sum([_one(member) for member in family])
    return found


def since(before: Mapping[str, Usage], after: Mapping[str, Usage]) -> dict[str, float]:
    """CPU seconds between two looks, by name. Pure."""
    return {name: after[name].cpu_s - usage.cpu_s for name, usage in before.items() if name in after}


def by_kind(values: Mapping[str, float]) -> dict[str, float]:
    """`ticketing-0` and `ticketing-1` are one kind: their sum. Pure."""
    sums: dict[str, float] = {}
    for name, value in values.items():
        kind = name.rstrip("0123456789").rstrip("-")
        sums[kind] = sums.get(kind, 0.0) + value
    return sums


def _one(process: psutil.Process) -> Usage:
    """Children that ended are in their parent's account."""
    try:
        times, memory = process.cpu_times(), process.memory_info()
    except psutil.NoSuchProcess:
        return Usage(0.0, 0.0)
    return Usage(times.user + times.system + times.children_user + times.children_system, memory.rss / 2**20)


def _sum(usages: list[Usage]) -> Usage:
    """Memory that several share is counted for each of them."""
    return Usage(sum(one.cpu_s for one in usages), sum(one.memory_mib for one in usages))
