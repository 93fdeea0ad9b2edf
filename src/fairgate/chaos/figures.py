"""What is read off a process: its metrics' text and its size. Pure, but for the sizes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

_BOUND = re.compile(r'^fairgate_admission_bound_total\{bound="(\w+)"\} (\S+)$', re.MULTILINE)


def bounds_of(text: str) -> dict[str, float]:
    """Bound → in how many rounds it decided, since the process began."""
    return {name: float(value) for name, value in _BOUND.findall(text)}


def total_of(text: str, metric: str) -> float:
    """The sum of a counter over its labels; 0 where the text does not have it."""
    found = re.findall(rf"^{re.escape(metric)}(?:\{{[^}}]*\}})? (\S+)$", text, re.MULTILINE)
    return sum(map(float, found))


def leading(before: Mapping[str, Mapping[str, float]], now: Mapping[str, Mapping[str, float]]) -> str | None:
    """The bound that decided most rounds of all processes between two looks; None where there was none."""
    rounds: Counter[str] = Counter()
    for process, counts in now.items():
        for bound, count in counts.items():
            earlier = before.get(process, {}).get(bound, 0.0)
            rounds[bound] += int(count - earlier if count >= earlier else count)  # less: it was started anew
    (bound, count), *_ = rounds.most_common(1) or [("", 0)]
    return bound if count > 0 else None
