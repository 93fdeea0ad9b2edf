"""The figures of all rounds, side by side: medians, spreads and the ratios of each round. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from fairgate.bench.measured import Figure
from fairgate.bench.samples import Spread, spread

OURS, THEIRS = "fairgate", "peer"


class Row(msgspec.Struct, frozen=True):
    """A figure over all rounds; `ratio` is Fairgate's to the peer's of the same round."""

    work: str
    name: str
    unit: str
    sides: dict[str, Spread]
    ratio: Spread | None


def rows(figures: Sequence[Figure]) -> list[Row]:
    """One for each name, in the order in which they were first measured. Pure."""
    names = list(dict.fromkeys((figure.work, figure.name, figure.unit) for figure in figures))
    return [_row(*name, [f for f in figures if (f.work, f.name, f.unit) == name]) for name in names]


def _row(work: str, name: str, unit: str, figures: Sequence[Figure]) -> Row:
    by_side: dict[str, list[float]] = {}
    for figure in figures:
        by_side.setdefault(figure.side, []).append(figure.value)
    pairs = zip(by_side.get(OURS, []), by_side.get(THEIRS, []), strict=False)
    ratios = [ours / theirs for ours, theirs in pairs if theirs]
    return Row(
        work, name, unit, {side: spread(values) for side, values in by_side.items()}, spread(ratios) if ratios else None
    )


def table(found: Sequence[Row]) -> str:
    """For people: median (least to most) of each side, and the ratio of the medians' rounds."""
    sides = list(dict.fromkeys(side for row in found for side in row.sides))
    lines = [
        f"{'':<38}{'':<10}" + "".join(f"{side:>32}" for side in sides) + (f"{'ratio':>28}" if len(sides) > 1 else "")
    ]
    for row in found:
        cells = "".join(f"{_spread(row.sides.get(side), 1):>32}" for side in sides)
        ratio = f"{_spread(row.ratio, 2):>28}" if len(sides) > 1 else ""
        lines.append(f"{row.name:<38}{row.unit:<10}{cells}{ratio}".rstrip())
    return "\n".join(lines)


def _spread(found: Spread | None, digits: int) -> str:
    if found is None:
        return "-"
    return f"{found.median:,.{digits}f} ({found.least:,.{digits}f} – {found.most:,.{digits}f})"
