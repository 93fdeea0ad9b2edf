"""The report says what was found: nothing broken is shown as held, and the page needs no network."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest

from fairgate.chaos import report as reports
from fairgate.chaos.page import page
from fairgate.chaos.plot import Frame, Series, plot
from fairgate.chaos.results import Environment, Report, Result
from fairgate.chaos.samples import Sample
from fairgate.chaos.timeline import Bound, Note, Window
from fairgate.checker.books import Books
from fairgate.checker.facts import facts
from fairgate.checker.run import Run
from fairgate.checker.verdict import Line, Verdict
from fairgate.reports.scale import nice

VOID = {"meta", "line", "path", "rect"}


def verdict(wrong: int = 0) -> Verdict:
    lines = [
        Line("lost", "who joined has one end", wrong, {}, ["u-1 was lost"] * bool(wrong), "I1"),
        Line("doubled", "one place, one ticket", invariant="I2"),
    ]
    return Verdict(lines=lines, facts=facts(Run(histories=[], books=Books(events={}))))


def result(**parts: object) -> Result:
    samples = [Sample(at_s=at / 2, joins=75 * at, admitted=70 * at, issued=69 * at, unsent=0, told=at, lag=3,
                      outbox_age_s=0.1, waiting={"e": at}) for at in range(1200)]  # fmt: skip
    given: dict[str, object] = {
        "risk": "R3",
        "title": "Broker <failure>",
        "about": "Brokers die.",
        "seed": 7,
        "verdict": verdict(),
        "bounds": [Bound("stall", 2.0, 3.0)],
        "faults": [Window("kafka-1 killed & more", 10.0, 25.0), Window("never mended", 30.0)],
        "notes": [Note("all is whole again", 26.0)],
        "samples": samples,
    }
    return Result(**{**given, **parts})  # type: ignore[arg-type]


def report(*results: Result) -> Report:
    where = Environment(
        began="2026-11-24 12:00 UTC", cores=2, memory_gib=24.0, system="Linux", versions={"Python": "3.11"},
        commit="abc", seed=7, quick=True, shortened=["max_poll_interval_s: 20 instead of 300"],
    )  # fmt: skip
    return Report(environment=where, results=list(results))


BROKEN = {
    "an invariant": {"verdict": verdict(wrong=1)},
    "a bound": {"bounds": [Bound("stall", 3.5, 3.0)]},
    "a bound that was not measured": {"bounds": [Bound("stall", None, 3.0)]},
    "trouble": {"trouble": ["the site did not start"]},
    "no verdict": {"verdict": None},
}


@pytest.mark.parametrize("parts", BROKEN.values(), ids=BROKEN)
def test_whatever_is_broken_breaks_the_whole_report(parts: dict[str, object]) -> None:
    made = report(result(), result(**parts))
    assert made.results[1].outcome == "broken" and not made.right
    assert "R3" in page(made) and ">broken<" in page(made)
    assert "1 of 2 runs broke a promise" in reports.markdown(made)


def test_all_held_is_right_also_beside_what_could_not_be_run() -> None:
    made = report(result(), result(verdict=None, not_run="needs root"))
    assert made.right and made.results[1].outcome == "not run"
    assert "needs root" in reports.markdown(made) and "needs root" in page(made)


def test_a_report_of_nothing_is_not_right() -> None:
    assert not report(result(verdict=None, not_run="needs root")).right


class Reader(HTMLParser):
    """Collects what stands open, and what the page would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.fetched += [
            value or "" for name, value in attrs if name in ("src", "href") and not (value or "").startswith("#")
        ]

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_nothing_else() -> None:
    reader = Reader()
    reader.feed(page(report(result(), result(risk="R4"))))
    assert reader.open == [] and reader.fetched == []


def test_what_a_title_holds_cannot_break_the_page() -> None:
    made = page(report(result()))
    assert "Broker &lt;failure&gt;" in made and "<failure>" not in made and "killed &amp; more" in made


def test_ten_long_runs_are_less_than_a_megabyte() -> None:
    assert len(page(report(*(result(risk=f"R{number}") for number in range(10))))) < 1_000_000


def test_all_three_files_are_written_and_programs_can_read_one(tmp_path: Path) -> None:
    written = reports.write(report(result()), tmp_path / "evidence")
    assert [path.name for path in written] == ["chaos.html", "chaos.md", "chaos.json"]
    found = msgspec.json.decode(written[2].read_bytes())
    assert found["right"] is True and found["results"][0]["outcome"] == "held"
    assert found["results"][0]["bounds"][0]["kept"] is True


def test_a_gap_in_a_series_is_a_gap_in_its_line() -> None:
    drawn = plot("lag", [Series("lag", [(0, 1), (1, 2), (2, None), (3, 4), (4, 4)], "s1")], Frame(4.0, [], []))
    path = re.search(r'<path class="s1" d="([^"]+)"', drawn)
    assert path is not None and path[1].count("M") == 2 and path[1].count("L") == 2


@pytest.mark.parametrize(("value", "top"), [(0, 1), (0.3, 1), (1, 1), (3, 5), (120, 200), (9_999, 10_000)])
def test_an_axis_ends_at_a_round_number_that_holds_everything(value: float, top: float) -> None:
    assert nice(value) == top
