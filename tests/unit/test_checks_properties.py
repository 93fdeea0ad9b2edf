"""For any healthy run the checker is content; whatever single wrong is done to it, it finds it under its name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from fairgate.checker.books import Admission, Book, Books, Departure, InboxRow, LineBook, Stock, Ticket
from fairgate.checker.history import Call, History, Told
from fairgate.checker.log import Logged
from fairgate.checker.run import Run
from fairgate.checker.verdict import judge
from fairgate.domain.line import first_sequence

FATES = ("ticket", "ticket", "over", "waits", "leaves", "quits")
EVENTS = ("e1", "e2")


class Place(msgspec.Struct, frozen=True):
    """One fan: what becomes of it, and whether it listens, asks twice, or gets no answer to its first try."""

    fate: str
    listens: bool
    twice: bool
    unknown: bool


places = st.lists(
    st.builds(Place, fate=st.sampled_from(FATES), listens=st.booleans(), twice=st.booleans(), unknown=st.booleans()),
    min_size=1,
    max_size=12,
)


@st.composite
def runs(draw: st.DrawFn) -> Run:
    """Who is served stands before who waits. At least two have a ticket in the first event, one waits, one was told."""
    histories: list[History] = []
    books: dict[str, Book] = {}
    for event_id in EVENTS:
        fans = draw(places)
        fans += [Place("ticket", True, False, False), Place("ticket", False, True, False)]
        fans += [Place(fate, False, False, False) for fate in ("over", "waits")]
        crowd = _Crowd(event_id)
        for place in sorted(fans, key=lambda place: place.fate in ("waits", "quits")):
            crowd.comes(place)
        histories += crowd.histories
        books[event_id] = crowd.book()
    return Run(histories=histories, books=Books(events=books))


class _Crowd:
    """Fans that come one after the other, ten seconds apart."""

    def __init__(self, event_id: str) -> None:
        self.event_id = event_id
        self.histories: list[History] = []
        self.admissions: list[Admission] = []
        self.tickets: list[Ticket] = []
        self.departures: list[Departure] = []
        self.inbox: list[InboxRow] = []
        self.log: list[Logged] = []
        self.waiting: dict[str, int] = {}

    def comes(self, place: Place) -> None:
        index = len(self.histories) + 1
        sequence, at = first_sequence(1) + index, 10.0 * index
        user = f"{self.event_id}-u{index}"
        fan = History(user_id=user, event_id=self.event_id, listens=place.listens, calls=[], told=[], arrived_at=at)
        fan.calls.append(Call("join", at, int(place.unknown), at + 1, "waiting", sequence, index))
        if place.twice:
            fan.calls.append(Call("join", at + 0.5, 0, at + 1.5, "waiting", sequence, index))
        self.histories.append(fan)
        getattr(self, f"_{place.fate}")(fan, sequence, at)

    def _ticket(self, fan: History, sequence: int, at: float) -> None:
        number = len(self.admissions) + 1
        ticket = f"t-{fan.user_id}"
        self.admissions.append(Admission(fan.user_id, sequence, number, "line", at))
        self.tickets.append(Ticket(ticket, fan.user_id, sequence, number, "confirmed", at + 1, f"topic-0@{number}"))
        self._logged("ticket-issue", f"1.{number}", fan.user_id, number=number, sequence=sequence)
        about = {"ticket_id": ticket, "number": number, "sequence": sequence}
        self._logged("ticket-issued", f"issued:{ticket}", fan.user_id, **about)
        fan.calls.append(Call("position", at + 3, 0, at + 4, "confirmed", sequence, None, ticket))
        self._told(fan, f"issued:{ticket}", "ticket:issued", ticket, at)
        fan.end, fan.done = "confirmed", True

    def _over(self, fan: History, sequence: int, at: float) -> None:
        self.departures.append(Departure(fan.user_id, sequence, "sold_out"))
        self._logged("notification", f"m-{fan.user_id}", fan.user_id, kind="queue:sold_out", sequence=sequence)
        self._told(fan, f"m-{fan.user_id}", "queue:sold_out", None, at)
        fan.end, fan.done = "sold_out", True

    def _waits(self, fan: History, sequence: int, at: float) -> None:
        self.waiting[fan.user_id] = sequence
        fan.calls.append(Call("position", at + 3, 0, at + 4, "waiting", sequence, 1))
        fan.quit = True

    def _leaves(self, fan: History, sequence: int, at: float) -> None:
        fan.calls.append(Call("leave", at + 3, 0, at + 4, "left", sequence))
        fan.quit = True

    def _quits(self, fan: History, sequence: int, at: float) -> None:
        """Its leave was never answered: it may have happened, and here it has not."""
        self.waiting[fan.user_id] = sequence
        fan.calls.append(Call("leave", at + 3, 1))
        fan.quit = True

    def _told(self, fan: History, id: str, kind: str, ticket: str | None, at: float) -> None:
        self.inbox.append(InboxRow(fan.user_id, id, kind, ticket, True, at + 2))
        fan.told.append(Told(id, kind, at + 5, "socket" if fan.listens else "inbox", ticket, self.event_id))

    def _logged(self, topic: str, id: str, user: str, **about: Any) -> None:
        offset = sum(record.topic == topic for record in self.log)
        self.log.append(Logged(topic, 0, offset, id, f"{topic} {user}".encode(), user, **about))

    def book(self) -> Book:
        count = len(self.tickets)
        left = len(self.histories) - count - len(self.departures) - len(self.waiting)
        stock = Stock(
            capacity=count,
            reserved=count,
            next_number=count + 1,
            issued=count,
            confirmed=count,
            cancelled=0,
            expired=0,
            rate=1.0,
            burst=1,
            state="open",
            generation=1,
        )
        counters = {"joined": len(self.histories), "left": left, "admitted": count, "departed": len(self.departures)}
        return Book(
            event_id=self.event_id,
            stock=stock,
            admissions=self.admissions,
            departures=self.departures,
            tickets=self.tickets,
            inbox=self.inbox,
            log=self.log,
            line=LineBook(waiting=self.waiting, counters=counters, read_at=1e9),
        )


@given(runs())
def test_a_healthy_run_breaks_no_promise(run: Run) -> None:
    verdict = judge(run)
    assert verdict.right, verdict.text()


def drop_a_ticket(book: Book, pick: int) -> None:
    del book.tickets[pick % len(book.tickets)]


def drop_who_waits(book: Book, pick: int) -> None:
    *_, last = book.line.waiting  # who came last surely did not try to leave
    del book.line.waiting[last]


def double_a_ticket(book: Book, pick: int) -> None:
    twice = book.tickets[pick % len(book.tickets)]
    book.tickets.append(msgspec.structs.replace(twice, ticket_id="another"))


def swap_two_in_the_log(book: Book, pick: int) -> None:
    orders = [index for index, record in enumerate(book.log) if record.topic == "ticket-issue"]
    a, b = orders[pick % (len(orders) - 1)], orders[pick % (len(orders) - 1) + 1]
    book.log[a], book.log[b] = book.log[b], book.log[a]


def swap_two_admissions(book: Book, pick: int) -> None:
    at = pick % (len(book.admissions) - 1)
    a, b = book.admissions[at], book.admissions[at + 1]
    replace = msgspec.structs.replace
    book.admissions[at : at + 2] = [replace(b, number=a.number), replace(a, number=b.number)]


def one_more_than_there_are(book: Book, pick: int) -> None:
    book.tickets.append(Ticket("extra", "stranger", 1, 99, "confirmed", 1.0))


def skip_an_inbox_row(book: Book, pick: int) -> None:
    del book.inbox[pick % len(book.inbox)]


def forget_a_fact(book: Book, pick: int) -> None:
    facts = [index for index, record in enumerate(book.log) if record.topic != "ticket-issue"]
    del book.log[facts[pick % len(facts)]]


def say_it_again_under_another_id(book: Book, pick: int) -> None:
    facts = [record for record in book.log if record.topic != "ticket-issue"]
    book.log.append(msgspec.structs.replace(facts[pick % len(facts)], message_id="another"))


def admit_all_at_once(book: Book, pick: int) -> None:
    book.admissions[:] = [msgspec.structs.replace(one, at=1.0) for one in book.admissions]


WRONGS: list[tuple[Callable[[Book, int], None], str]] = [
    (drop_a_ticket, "lost"),
    (drop_who_waits, "lost"),
    (double_a_ticket, "doubled"),
    (swap_two_in_the_log, "out of order"),
    (swap_two_admissions, "out of order"),
    (one_more_than_there_are, "oversold"),
    (one_more_than_there_are, "from nowhere"),
    (skip_an_inbox_row, "untold"),
    (forget_a_fact, "untold"),
    (say_it_again_under_another_id, "doubled"),
    (admit_all_at_once, "too fast"),
    (drop_a_ticket, "books"),
]


@given(runs(), st.sampled_from(WRONGS), st.sampled_from(EVENTS), st.integers(min_value=0, max_value=1_000))
def test_any_single_wrong_is_found(
    run: Run, wrong: tuple[Callable[[Book, int], None], str], event_id: str, pick: int
) -> None:
    spoil, line = wrong
    spoil(run.books.events[event_id], pick)
    verdict = judge(run)
    assert not verdict.line(line).kept, verdict.text()
    assert all(event_id in finding for finding in verdict.line(line).examples)
