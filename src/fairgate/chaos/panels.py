"""Which plots a scenario is shown in, from its samples. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from fairgate.chaos.plot import Frame, Points, Series, plot
from fairgate.chaos.results import Result
from fairgate.chaos.samples import Sample, rates, thinned
from fairgate.chaos.scenario import Progress

# So that nine scenarios of ten minutes stay below a megabyte.
POINTS = 360
STYLES = ("s1", "s2", "s3", "s4")


def panels(result: Result) -> list[str]:
    """Rates, line and lag, outbox, told; then what the scenario measured besides."""
    samples = thinned(result.samples, POINTS)
    if len(samples) < 2:
        return []
    frame = Frame(samples[-1].at_s, result.faults, result.notes)
    return [
        plot("per second", _rates(samples), frame),
        plot("people in line", _series(samples, {"waiting": "line"}), frame),
        plot("messages behind", _series(samples, {"consumer lag": "lag", "outbox": "unsent"}), frame),
        plot("seconds", _series(samples, {"oldest outbox row": "outbox_age_s"}), frame),
        plot("notifications that reached a client", _series(samples, {"told": "told"}), frame),
        *_further(result, frame),
    ]


def _rates(samples: Sequence[Sample]) -> list[Series]:
    """Over five samples, since half a second of a thousand processes' work is noise."""
    names: dict[str, Progress] = {"joined": "joins", "admitted": "admitted", "tickets": "issued"}
    return [
        Series(name, smoothed(rates(samples, what)), style)
        for (name, what), style in zip(names.items(), STYLES, strict=False)
    ]


def smoothed(points: Points, width: int = 5) -> list[tuple[float, float | None]]:
    """The mean of the last few; None stays None."""
    found: list[tuple[float, float | None]] = []
    for index, (at_s, value) in enumerate(points):
        near = [one for _, one in points[max(0, index - width + 1) : index + 1] if one is not None]
        found.append((at_s, None if value is None else sum(near) / len(near)))
    return found


def _series(samples: Sequence[Sample], names: dict[str, str]) -> list[Series]:
    return [
        Series(name, [(sample.at_s, getattr(sample, field)) for sample in samples], style)
        for (name, field), style in zip(names.items(), STYLES, strict=False)
    ]


def _further(result: Result, frame: Frame) -> list[str]:
    return [plot(name, [Series("", points, "s1")], frame) for name, points in result.further.items()]
