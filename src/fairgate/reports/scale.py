"""Axes of plots. Pure."""

from __future__ import annotations

import math


def nice(value: float) -> float:
    """The least 1, 2, 5 × 10ⁿ that is not below it; at least 1."""
    if value <= 1:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value)


def number(value: float) -> str:
    """Short enough for a tick."""
    for above, sign in ((1_000_000, "M"), (10_000, "k")):
        if value >= above:
            return f"{value / (1_000_000 if sign == 'M' else 1_000):g}{sign}"
    return f"{value:g}"
