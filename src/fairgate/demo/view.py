"""How it looks: a live table on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any

from fairgate.checker.verdict import text_of_span
from fairgate.demo.gauge import Figures
from fairgate.demo.options import Plan
from fairgate.local.servers import Step

PLAIN_EVERY_S = 5.0
BAR = 40


def show() -> PlainShow:
    """The one that fits where stderr goes."""
    return LiveShow() if sys.stderr.isatty() else PlainShow()


class PlainShow:
    """Lines on stderr. Also a context manager, so that a live view leaves the terminal as it was."""

    def __init__(self) -> None:
        self._next_at = 0.0

    def __enter__(self) -> PlainShow:
        return self

    def __exit__(self, *_: object) -> None:
        self.settle()

    def settle(self) -> None:
        """Nothing moves from here on."""

    def step(self, step: Step) -> None:
        if step.seconds is None:
            self.say(f"  · {step.title}")
        else:
            self.say(f"  ✓ {step.title:<20} {step.address:<22} {step.seconds:6.1f} s   {step.note}".rstrip())

    def say(self, text: str) -> None:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()

    def figures(self, figures: Figures, plan: Plan) -> None:
        if time.monotonic() >= self._next_at:
            self._next_at = time.monotonic() + PLAIN_EVERY_S
            self.say("  " + "   ".join(f"{name} {value}" for name, value in rows(figures, plan)))


class LiveShow(PlainShow):
    """One table that is drawn anew; what is said scrolls above it."""

    def __init__(self) -> None:
        super().__init__()
        from rich.console import Console
        from rich.live import Live

        self._console = Console(stderr=True, highlight=False)
        self._live: Any = Live(console=self._console, auto_refresh=False, transient=True)

    def __enter__(self) -> LiveShow:
        self._live.start()
        return self

    def settle(self) -> None:
        self._live.stop()

    def say(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)

    def figures(self, figures: Figures, plan: Plan) -> None:
        self._live.update(_table(figures, plan), refresh=True)


def _table(figures: Figures, plan: Plan) -> Any:
    from rich.table import Table

    table = Table.grid(padding=(0, 3))
    for name, value in rows(figures, plan):
        table.add_row(f"  {name}", value)
    table.add_row("  tickets", bar(figures.issued or 0, plan.tickets))
    return table


def bar(part: int, whole: int, width: int = BAR) -> str:
    filled = min(width, part * width // max(1, whole))
    return "█" * filled + "░" * (width - filled)


def rows(figures: Figures, plan: Plan) -> list[tuple[str, str]]:
    """Name and value of everything that is shown while it runs."""
    return [
        ("at", f"{figures.at_s:.0f} s"),
        ("joined", f"{figures.joined} of {plan.fans}"),
        ("in line", _number(figures.waiting)),
        ("admitted", _number(figures.admitted)),
        ("issued", f"{_number(figures.issued)} of {plan.tickets}"),
        ("sold out", str(figures.sold_out)),
        ("told", f"{figures.told} of {plan.fans}"),
        ("lag", _number(figures.lag)),
        ("outbox", _number(figures.outbox)),
        ("turn to ticket p50/p99", text_of_span(figures.turn_to_ticket_s)),
    ]


def _number(value: int | None) -> str:
    return "?" if value is None else str(value)
