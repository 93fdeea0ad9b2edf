"""The verdict on a run: one line for each promise, with the invariant (I1–I10, F16) that it is. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import msgspec

from fairgate.checker import conduct, doubled, order, places, stock
from fairgate.checker.books import Book
from fairgate.checker.facts import Facts, Span, facts
from fairgate.checker.history import History
from fairgate.checker.run import Pace, Run
from fairgate.checker.trail import Finding

EXAMPLES = 5


class Line(msgspec.Struct, frozen=True):
    """`wrong` counts what breaks the promise; `counts` is who counted what; `examples` are the first findings."""

    name: str
    promise: str
    wrong: int = 0
    counts: dict[str, int] = {}
    examples: list[str] = []
    invariant: str = ""

    @property
    def kept(self) -> bool:
        return self.wrong == 0


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    lines: list[Line]
    facts: Facts

    @property
    def right(self) -> bool:
        return all(line.kept for line in self.lines)

    @property
    def violations(self) -> int:
        return sum(line.wrong for line in self.lines)

    @property
    def broken(self) -> set[str]:
        """The invariants that do not hold."""
        return {line.invariant for line in self.lines if not line.kept}

    def line(self, name: str) -> Line:
        return next(line for line in self.lines if line.name == name)

    def plain(self) -> dict[str, object]:
        """For `--json` and reports."""
        content: dict[str, object] = msgspec.to_builtins(self)
        return {"right": self.right, "violations": self.violations, **content}

    def text(self, title: str = "verdict") -> str:
        """For people: a line for each promise, its first findings below it, then what was measured."""
        parts = [title, *(text for line in self.lines for text in text_of(line)), *text_of_facts(self.facts)]
        return "\n".join([*parts, "all right" if self.right else "✗ NOT RIGHT"])


def judge(run: Run) -> Verdict:
    return Verdict(lines=promises(run), facts=facts(run))


def promises(run: Run) -> list[Line]:
    """One line for each promise, over all events."""
    return [
        _line("lost", "I1", "who joined has one end", _each(run, _lost)),
        _line("untold", "I1", "who has an end was told of it", _each(run, _untold)),
        _line("doubled", "I2", "one place, one ticket, told once", _each(run, _doubled)),
        _line("out of order", "I3", "numbers follow the line, the line real time", _each(run, _out_of_order)),
        _line("oversold", "I4", "never more tickets than there are", _each(run, lambda _, __, b: stock.oversold(b))),
        _line("from nowhere", "I5", "each ticket has its join", _each(run, _from_nowhere)),
        _line("moved back", "I6", "the position never grows", _each(run, _moved_back)),
        _line("too fast", "I7", "admissions keep the rate", _each(run, _too_fast)),
        _line("orphans", "I8", "who was claimed is back within 10 s", _each(run, _orphans)),
        _line("dead letters", "I9", "what is dead was bad", conduct.dead_letters(run.books, run.bad)),
        _line("overheard", "F16", "nobody is shown another's ticket", _each(run, _overheard)),
        _line("books", "I10", "the books balance", _each(run, lambda _, __, book: stock.unbalanced(book))),
    ]


Check = Callable[[Run, Sequence[History], Book], Iterable[Finding]]


def _each(run: Run, check: Check) -> list[Finding]:
    return [
        finding
        for event_id, book in run.books.events.items()
        for finding in check(run, run.crowds.get(event_id, []), book)
    ]


def _line(name: str, invariant: str, promise: str, found: Sequence[Finding]) -> Line:
    return Line(name, promise, len(found), {}, [str(finding) for finding in found[:EXAMPLES]], invariant)


def _lost(run: Run, fans: Sequence[History], book: Book) -> list[Finding]:
    return places.lost(fans, book, recovered=run.recovered(book.event_id))


def _untold(run: Run, fans: Sequence[History], book: Book) -> list[Finding]:
    return places.untold(fans, book)


def _doubled(run: Run, fans: Sequence[History], book: Book) -> list[Finding]:
    return doubled.doubled(fans, book, recovered=run.recovered(book.event_id))


def _out_of_order(run: Run, fans: Sequence[History], book: Book) -> list[Finding]:
    return order.out_of_order(fans, book, recovered=run.recovered(book.event_id))


def _from_nowhere(run: Run, fans: Sequence[History], book: Book) -> list[Finding]:
    return stock.from_nowhere(fans, book, run.acts)


def _moved_back(run: Run, fans: Sequence[History], book: Book) -> list[Finding]:
    return conduct.grew(fans, run.recoveries)


def _too_fast(run: Run, fans: Sequence[History], book: Book) -> list[Finding]:
    return conduct.too_fast(book, run.paces.get(book.event_id) or Pace(book.stock.rate, book.stock.burst))


def _orphans(run: Run, fans: Sequence[History], book: Book) -> list[Finding]:
    return conduct.orphans(book, run.healed_at)


def _overheard(run: Run, fans: Sequence[History], book: Book) -> list[Finding]:
    return conduct.overheard(fans, book)


# ---- for people


def text_of(line: Line) -> list[str]:
    """The line, and its first findings below it."""
    counted = "  ".join(f"{who} {count}" for who, count in line.counts.items()) if line.counts else str(line.wrong)
    head = f"  {'✓' if line.kept else '✗'} {line.name:<13} {line.invariant:<4}{counted:<40} {line.promise}"
    return [head, *(f"      {example}" for example in line.examples)]


def text_of_facts(facts: Facts) -> list[str]:
    return [
        f"  joins {facts.joins}, waiting {facts.waiting}, left {facts.left}, told that it is over {facts.told_over},"
        f" tickets {facts.tickets}",
        f"  from join to answer    {text_of_span(facts.from_join_to_answer_s)} (p50/p99)",
        f"  from join to ticket    {text_of_span(facts.from_join_to_ticket_s)}",
        f"  from turn to ticket    {text_of_span(facts.from_turn_to_ticket_s)}"
        f" (longest stall {facts.longest_stall_s:.3f} s)",
        f"  from turn to the inbox {text_of_span(facts.from_turn_to_inbox_s)}",
        f"  repeats that did no harm: {facts.repeats_in_log} in the log, {facts.shown_again} at the clients,"
        f" {facts.unknown_outcomes} tries without an answer; {facts.aborted} raw records aborted",
    ]


def text_of_span(span: Span) -> str:
    return "-" if span.p50 is None or span.p99 is None else f"{span.p50:.3f}/{span.p99:.3f} s"
