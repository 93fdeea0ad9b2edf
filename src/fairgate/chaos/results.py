"""What a run of scenarios leaves: data only, for the report, for `--json` and for who asks again later."""

from __future__ import annotations

from typing import Literal

import msgspec

from fairgate.chaos.samples import Sample
from fairgate.chaos.timeline import Bound, Note, Window
from fairgate.checker.verdict import Line, Verdict
from fairgate.reports.machine import Machine

Outcome = Literal["held", "broken", "not run"]


class Result(msgspec.Struct, kw_only=True):
    """One scenario. `trouble`: why it could not be played or judged to the end. `recovery_s`: from the end of healing
    until everybody admitted by then held the ticket. Without a `verdict` nothing was judged.
    """

    risk: str
    title: str
    about: str
    seed: int
    not_run: str = ""
    trouble: list[str] = []
    took_s: float = 0.0
    joins_per_s: float = 0.0
    recovery_s: float | None = None
    stalls_s: dict[str, float] = {}
    bounds: list[Bound] = []
    verdict: Verdict | None = None
    faults: list[Window] = []
    notes: list[Note] = []
    samples: list[Sample] = []
    further: dict[str, list[tuple[float, float]]] = {}
    met: dict[str, int] = {}

    @property
    def outcome(self) -> Outcome:
        if self.not_run:
            return "not run"
        right = self.verdict is not None and self.verdict.right
        return "held" if right and not self.trouble and all(bound.kept for bound in self.bounds) else "broken"

    @property
    def violations(self) -> int:
        return self.verdict.violations if self.verdict is not None else 0

    def wrong(self, name: str) -> int:
        return self.verdict.line(name).wrong if self.verdict is not None else 0

    @property
    def broken_lines(self) -> list[Line]:
        return [line for line in self.verdict.lines if not line.kept] if self.verdict is not None else []


class Environment(Machine, frozen=True, kw_only=True):
    """Where it ran. `shortened`: limits that `--quick` made smaller, in words."""

    seed: int
    quick: bool
    shortened: list[str]

    @property
    def rows(self) -> list[tuple[str, str]]:
        short = [("shortened by --quick", "; ".join(self.shortened))] if self.shortened else []
        return [*super().rows, ("seed", str(self.seed)), *short]


class Report(msgspec.Struct, kw_only=True):
    environment: Environment
    results: list[Result]

    @property
    def right(self) -> bool:
        """Nothing was violated in what was run; and something was run."""
        return all(result.outcome != "broken" for result in self.results) and any(
            result.outcome == "held" for result in self.results
        )

    def plain(self) -> dict[str, object]:
        """For `--json`, without the series."""
        return {
            "right": self.right,
            "environment": msgspec.to_builtins(self.environment),
            "results": [_plain(result) for result in self.results],
        }


def _plain(result: Result) -> dict[str, object]:
    content: dict[str, object] = msgspec.to_builtins(result)
    content["verdict"] = result.verdict.plain() if result.verdict is not None else None
    content["bounds"] = [{**msgspec.to_builtins(bound), "kept": bound.kept} for bound in result.bounds]
    left_out = {"samples", "further"}
    return {"outcome": result.outcome} | {name: value for name, value in content.items() if name not in left_out}
