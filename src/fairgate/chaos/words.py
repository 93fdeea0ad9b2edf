"""What the report says, for Markdown and the page alike. Pure."""

from __future__ import annotations

from fairgate.chaos.results import Report, Result

COLUMNS = (
    "scenario", "outcome", "joins accepted", "tickets", "lost", "doubled", "violations", "raw duplicates",
    "longest stall", "recovery",
)  # fmt: skip

NOT_TESTED = (
    "A power cut: processes die, the machine does not, so that what Kafka had not yet written to disk survives.",
    "Several hosts: all share one clock, one kernel and one disk. Network faults are made by proxies on the loopback.",
    "Clocks that disagree or jump.",
    "Disks that lie: flipped bits, lost writes, torn pages.",
    "A crowd larger than this machine: the load is what two cores bear beside three brokers and a dozen processes.",
)


def headline(report: Report) -> str:
    run = [result for result in report.results if not result.not_run]
    broken = [result for result in run if result.outcome == "broken"]
    if broken:
        return f"{len(broken)} of {len(run)} runs broke a promise: {', '.join(result.risk for result in broken)}"
    return "Nobody lost, nobody twice" if run else "Nothing was run"


def lead(report: Report) -> str:
    where, short = report.environment, " · the short version" if report.environment.quick else ""
    what = "Fairgate under the faults of its eight risks, on real servers under load"
    return f"{what} · {where.began} · seed {where.seed}{short}"


def tiles(report: Report) -> list[tuple[str, str]]:
    facts = [result.verdict.facts for result in report.results if result.verdict is not None]
    return [
        ("runs", str(sum(not result.not_run for result in report.results))),
        ("faults", str(sum(len(result.faults) for result in report.results))),
        ("joins accepted", f"{sum(fact.joins for fact in facts):,}"),
        ("tickets", f"{sum(fact.tickets for fact in facts):,}"),
        ("lost", str(sum(result.wrong("lost") for result in report.results))),
        ("doubled", str(sum(result.wrong("doubled") for result in report.results))),
        ("violations", str(sum(result.violations for result in report.results))),
    ]


def row(result: Result) -> list[str]:
    """As `COLUMNS`. The stall is of tickets; raw duplicates did no harm."""
    name = f"{result.risk} {result.title}"
    if result.verdict is None:
        return [name, result.outcome, *["–"] * (len(COLUMNS) - 2)]
    facts = result.verdict.facts
    recovery = "–" if result.recovery_s is None else f"{result.recovery_s:.1f} s"
    figures = [facts.joins, facts.tickets, result.wrong("lost"), result.wrong("doubled"), result.violations]
    stall = result.stalls_s.get("issued")
    return [
        name, result.outcome, *(f"{figure:,}" for figure in figures), f"{facts.repeats_in_log:,}",
        "–" if stall is None else f"{stall:.1f} s", recovery,
    ]  # fmt: skip
