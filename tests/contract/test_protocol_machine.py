"""The real scripts and the real SQL, driven at random against a model that fits on two screens.

Two owners claim, admit and clear; each may forget what it has in hand, be overtaken, and act long after. The relay
sends rows again; records come again and in any order; tickets are confirmed, cancelled and expire; the capacity moves.
The model says what each step must answer, and after each step what Valkey and SQL must hold (I1 to I5).
"""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from functools import partial
from types import ModuleType
from typing import Any, TypeVar

import asyncpg
import msgspec
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from fairgate.domain.messages import TicketIssue
from fairgate.domain.place import Outcome, Place, Status
from fairgate.domain.ticket import TicketStatus, may_become
from fairgate.errors import Conflict, StaleEpoch
from fairgate.stores import claims as stores_claims
from fairgate.stores import line as stores_line
from fairgate.stores.channel import Channel, Script
from fairgate.stores.claims import Claim, ClaimStore, Settled
from fairgate.stores.database import Database, lines_of, translated
from fairgate.stores.line import LineStore
from fairgate.stores.lines import read_line
from fairgate.stores.outbox import OutboxStore
from fairgate.stores.standings import read_standings
from fairgate.stores.tickets import Issued, Order, SettledBefore, SettledByThisRecord, TicketStore, UnknownAdmission
from tests.conftest import Servers

T = TypeVar("T")

USERS = [f"user-{i}" for i in range(6)]
OWNERS = ["first", "second"]
# A lease ends here when the test says so, not when the machine is slow.
LEASE_S = 3_600.0
# Above every shard that Fairgate has: nobody else's admission looks at these lines.
SHARDS = itertools.count(1_000)

Key = tuple[str, int]  # user, sequence


class World:
    """Real servers, a loop to talk to them, and stores as the stages have them."""

    def __init__(self, servers: Servers) -> None:
        self._runner = asyncio.Runner()
        self.database = Database(servers.postgres_dsn)
        self.store = LineStore(Channel(servers.valkey_url))
        self.claims = ClaimStore(self.store)
        self.tickets, self.outbox = TicketStore(self.database), OutboxStore(self.database)

    def do(self, step: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(step)

    def query(self, query: str, /, **values: Any) -> Any:
        async def ask() -> Any:
            async with self.database.connection() as connection:
                return await getattr(self.database.queries, query)(connection, **values)

        return self.do(ask())

    def execute(self, statement: str, *values: Any) -> list[asyncpg.Record]:
        async def ask() -> list[asyncpg.Record]:
            async with self.database.connection() as connection:
                return await connection.fetch(statement, *values)

        return self.do(ask())

    def close(self) -> None:
        self.do(self.store.channel.close())
        self.do(self.database.close())
        self._runner.close()


class Owner:
    """An admission process: the epoch that it believes in, and what it has in hand."""

    def __init__(self) -> None:
        self.epoch = 0
        self.hand: list[Claim] = []
        self.rows: Sequence[Mapping[str, Any]] = []


class Protocol(RuleBasedStateMachine):
    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.event = f"machine-{uuid.uuid4().hex[:10]}"
        self.shard, self.lease = next(SHARDS), f"machine:{self.event}"
        self.owners = {name: Owner() for name in OWNERS}
        self.lease_epoch = self.valkey_epoch = 0
        self.capacity, self.reserved, self.last_sequence = 0, 0, 0
        self.waiting: dict[str, int] = {}
        self.claimed: dict[str, int] = {}
        self.held = False
        self.cached: dict[str, tuple[Status, int]] = {}
        self.known: dict[str, tuple[Status, int]] = {}  # what SQL knows of each user
        self.admitted: dict[Key, int] = {}
        self.departed: set[Key] = set()
        self.tickets: dict[Key, TicketStatus] = {}
        self.settled_by: dict[Key, str] = {}
        self.ids: dict[Key, str] = {}
        self.log: list[TicketIssue] = []

    @initialize(capacity=st.integers(0, 4))
    def an_open_line(self, capacity: int) -> None:
        self.capacity = capacity
        self.world.execute(
            "insert into lines (event_id, shard, state, rate, burst, hold_s, generation) "
            "values ($1, $2, 'open', 1000, 1000, 600, 1)",
            *(self.event, self.shard),
        )
        # More tokens than steps: the rate has a test of its own (test_admission_rate.py).
        self.world.execute(
            "insert into inventory (event_id, capacity, tokens) values ($1, $2, 1000)", self.event, capacity
        )
        self.world.execute("insert into tallies (event_id) values ($1)", self.event)
        self.take_over("first")
        self.prepare("first")

    # ---- what fans do

    @rule(users=st.lists(st.sampled_from(USERS), min_size=1, max_size=4, unique=True))
    def join(self, users: list[str]) -> None:
        answer = self.world.do(self.world.store.join(self.line, users))
        for user, place in zip(users, answer.places, strict=True):
            assert isinstance(place, Place)
            self._joined(user, place)

    def _joined(self, user: str, place: Place) -> None:
        ended = self.cached.get(user)
        if user in self.waiting:
            self._stands(user, place)
        elif user in self.claimed:
            status = Status.WAITING if self.held else Status.ADMITTED
            assert (place.status, place.sequence) == (status, self.claimed[user])
        elif ended and ended[0] in (Status.ADMITTED, Status.ISSUED, Status.CONFIRMED):
            assert (place.status, place.sequence) == ended
        else:
            assert place.sequence is not None and place.sequence > self.last_sequence, "a number is never used twice"
            self.waiting[user] = self.last_sequence = place.sequence
            self.cached.pop(user, None)
            self._stands(user, place)

    def _stands(self, user: str, place: Place) -> None:
        before = sum(sequence < self.waiting[user] for sequence in self.waiting.values())
        assert (place.status, place.sequence, place.position) == (Status.WAITING, self.waiting[user], before + 1)

    @rule(user=st.sampled_from(USERS))
    def leave(self, user: str) -> None:
        place = self.world.do(self.world.store.leave(self.line, user)).places[0]
        assert isinstance(place, Place)
        if user in self.waiting:
            self.cached[user] = (Status.LEFT, self.waiting.pop(user))
            assert place.status is Status.LEFT
        elif user in self.claimed:
            assert (place.status, place.sequence) == (Status.ADMITTED, self.claimed[user]), "too late"
        else:
            assert place.status is self.cached.get(user, (Status.NONE, 0))[0]

    # ---- owners of the lease, one of whom may be a ghost

    @rule(name=st.sampled_from(OWNERS))
    def take_over(self, name: str) -> None:
        """Its lease has ended, or it was restarted."""
        self.world.execute("update leases set until = '-infinity' where name = $1", self.lease)
        owner = self.owners[name]
        owner.epoch = self.world.query("take_lease", name=self.lease, owner=name, seconds=LEASE_S)
        assert owner.epoch > self.lease_epoch
        self.lease_epoch = owner.epoch

    @rule(name=st.sampled_from(OWNERS))
    def prepare(self, name: str) -> None:
        epoch = self.owners[name].epoch
        step = self.world.store.prepare(self.line, epoch, new_generation=self.valkey_epoch == 0)
        if self._unless(epoch < self.valkey_epoch, step):
            self.valkey_epoch = epoch

    @rule(name=st.sampled_from(OWNERS))
    def forget(self, name: str) -> None:
        """It died with what it had in hand."""
        self.owners[name].hand, self.owners[name].rows = [], []

    @rule(name=st.sampled_from(OWNERS), count=st.integers(1, 4))
    def claim(self, name: str, count: int) -> None:
        owner = self.owners[name]
        claimed = self._unless(owner.epoch != self.valkey_epoch, self.world.claims.claim(self.line, owner.epoch, count))
        if claimed is None:
            return
        expected = (_in_order(self.claimed) + _in_order(self.waiting))[:count]
        assert claimed.claims == expected, "who was claimed before comes first"
        for user, sequence in expected:
            self.waiting.pop(user, None)
            self.claimed[user] = sequence
        owner.hand, owner.rows = claimed.claims, []

    @rule(data=st.data(), departs=st.sampled_from([False, False, False, True]), crowd=st.booleans())
    @precondition(lambda self: any(owner.hand for owner in self.owners.values()))
    def write(self, data: st.DataObject, departs: bool, crowd: bool) -> None:
        self._write(data.draw(st.sampled_from([one for one in self.owners.values() if one.hand])), departs, crowd)

    def _write(self, owner: Owner, departs: bool, crowd: bool) -> None:
        step = self._depart(owner) if departs else self._admit(owner, crowd)
        rows = self._unless(owner.epoch != self.lease_epoch, step)
        if rows is not None:
            expected = self._departed(owner.hand) if departs else self._admitted(owner.hand)
            assert {(row["user_id"], row["sequence"]): row["outcome"] for row in rows} == expected
            for row in rows:
                if row["outcome"] == "admitted":
                    self._note_number((row["user_id"], row["sequence"]), row["number"])
            owner.rows = rows

    async def _admit(self, owner: Owner, crowd: bool) -> Sequence[Mapping[str, Any]]:
        """`crowd`: all at once, where that can be."""
        if crowd and (first := await self._admit_crowd(owner)) is not None:
            return [
                {"user_id": user, "sequence": sequence, "outcome": "admitted", "number": first + place}
                for place, (user, sequence) in enumerate(owner.hand)
            ]
        users, sequences = [claim.user_id for claim in owner.hand], [claim.sequence for claim in owner.hand]
        events = [self.event] * len(users)
        async with self.world.database.connection() as connection:
            with translated():
                rows: list[asyncpg.Record] = await self.world.database.queries.admit(
                    connection,
                    leases=[self.lease],
                    epochs=[owner.epoch],
                    events=events,
                    users=users,
                    sequences=sequences,
                )
        return rows

    async def _admit_crowd(self, owner: Owner) -> int | None:
        async with self.world.database.connection() as connection:
            with translated():
                first: int | None = await self.world.database.queries.admit_crowd(
                    connection,
                    lease=self.lease,
                    epoch=owner.epoch,
                    event_id=self.event,
                    users=lines_of([claim.user_id for claim in owner.hand]),
                    sequences=[claim.sequence for claim in owner.hand],
                )
        return first

    async def _depart(self, owner: Owner) -> list[asyncpg.Record]:
        claims = {"users": [c.user_id for c in owner.hand], "sequences": [c.sequence for c in owner.hand]}
        words = {"reason": "sold_out", "title": "Sold out", "body": "Sold out"}
        async with self.world.database.connection() as connection:
            with translated():
                rows: list[asyncpg.Record] = await self.world.database.queries.depart(
                    connection,
                    lease=self.lease,
                    epoch=owner.epoch,
                    shard=self.shard,
                    event_id=self.event,
                    **claims,
                    **words,
                )
        return rows

    def _admitted(self, hand: list[Claim]) -> dict[Key, str]:
        outcomes: dict[Key, str] = {}
        for key in sorted(map(tuple, hand), key=lambda key: key[1]):
            if key in self.admitted:
                outcomes[key] = "admitted"
            elif key in self.departed:
                outcomes[key] = "departed"
            elif self._is_served(key):
                outcomes[key] = "served"
            elif self.reserved < self.capacity:
                outcomes[key] = "admitted"
                self.reserved += 1
                self._nobody_is_passed_over(key[1])
                self.admitted[key] = 0
                self.known[key[0]] = (Status.ADMITTED, key[1])
            else:
                outcomes[key] = "held"
        return outcomes

    def _departed(self, hand: list[Claim]) -> dict[Key, str]:
        outcomes: dict[Key, str] = {}
        for key in map(tuple, hand):
            live = any(user == key[0] and status.live for (user, _), status in self.tickets.items())
            outcomes[key] = "admitted" if key in self.admitted else "served" if live else "departed"
            if outcomes[key] == "departed":
                if key not in self.departed:
                    self.known[key[0]] = (Status.SOLD_OUT, key[1])
                self.departed.add(key)
        return outcomes

    def _is_served(self, key: Key) -> bool:
        """The user has a live ticket, or an admission on its way, of another place."""
        return any(
            user == key[0] and (user, sequence) != key and self.tickets.get((user, sequence), TicketStatus.PENDING).live
            for user, sequence in self.admitted
        )

    def _nobody_is_passed_over(self, sequence: int) -> None:
        """I3, within the line."""
        assert all(other > sequence for other in self.waiting.values())

    def _note_number(self, key: Key, number: int) -> None:
        known = self.admitted[key]
        assert known in (0, number), "a repeat has the same number"
        self.admitted[key] = number

    @rule(data=st.data())
    @precondition(lambda self: any(owner.rows for owner in self.owners.values()))
    def clear(self, data: st.DataObject) -> None:
        self._clear(data.draw(st.sampled_from([one for one in self.owners.values() if one.rows])))

    @rule(count=st.integers(1, 4))
    def round(self, count: int) -> None:
        """What happens nearly always: whoever has the lease claims, admits and clears, and nothing comes between."""
        name = next(name for name, owner in self.owners.items() if owner.epoch == self.lease_epoch)
        self.prepare(name)
        self.claim(name, count)
        if self.owners[name].hand:
            self._write(self.owners[name], departs=False, crowd=True)
            self._clear(self.owners[name])

    def _clear(self, owner: Owner) -> None:
        held = any(row["outcome"] == "held" for row in owner.rows)
        outcomes = [(row["user_id"], self._outcome(row)) for row in owner.rows if row["outcome"] != "held"]
        step = self.world.claims.clear(Settled(self.line, owner.epoch, "admitted", outcomes, held))
        refused = owner.epoch != self.valkey_epoch
        self._unless(refused, step)
        if refused:
            return
        self.held = held
        for user, outcome in outcomes:
            if self.claimed.get(user) == outcome.sequence:
                del self.claimed[user]
                self.cached[user] = (outcome.status, outcome.sequence)

    def _outcome(self, row: asyncpg.Record) -> Outcome:
        if row["outcome"] == "admitted":
            return Outcome(Status.ADMITTED, row["sequence"])
        return Outcome(self._standing(row["user_id"])[0], row["sequence"])

    def _unless(self, refused: bool, step: Coroutine[Any, Any, T]) -> T | None:
        """What the step says, or that it was refused where it had to be."""
        if not refused:
            return self.world.do(step)
        with pytest.raises(StaleEpoch):
            self.world.do(step)
        return None

    # ---- the relay, and what Kafka makes of it

    @rule(rows=st.integers(1, 3), dies=st.booleans())
    def relay(self, rows: int, dies: bool) -> None:
        """Sends the oldest rows; marks them unless it dies before."""

        async def send() -> None:
            async with self.world.database.connection() as connection:
                found = await self.world.outbox.oldest_unsent(connection, [self.shard], rows)
                for row in found:
                    if row.topic == "ticket-issue":
                        self.log += [_decoded(payload) for payload in row.payloads]
                if not dies:
                    await self.world.outbox.mark_sent(connection, [row.id for row in found])

        self.world.do(send())
        first = list(dict.fromkeys((issue.user_id, issue.sequence) for issue in self.log))
        numbers = [self.admitted[key] for key in first]
        assert numbers == sorted(numbers), "the first record of each is in order"

    @rule(data=st.data())
    @precondition(lambda self: self.log)
    def settle(self, data: st.DataObject) -> None:
        """Any of the records, in any order, also again."""
        offsets = data.draw(st.lists(st.integers(0, len(self.log) - 1), min_size=1, max_size=5, unique=True))
        orders = [Order(self.log[offset], f"topic-0@{offset}") for offset in offsets]
        outcomes = self.world.do(self.world.tickets.settle(orders))
        for order, outcome in zip(orders, outcomes, strict=True):
            key = (order.issue.user_id, order.issue.sequence)
            match outcome:
                case Issued(ticket):
                    assert key not in self.tickets, "settled once"
                    assert ticket.number == self.admitted[key]
                    self.tickets[key], self.settled_by[key] = ticket.status, order.source
                    self.ids[key] = ticket.ticket_id
                    self.known[key[0]] = (Status.ISSUED, key[1])
                case SettledByThisRecord(ticket):
                    assert (self.settled_by[key], self.ids[key]) == (order.source, ticket.ticket_id)
                case _:
                    assert isinstance(outcome, SettledBefore) and self.settled_by[key] != order.source

    @rule(user=st.sampled_from(USERS), sequence=st.integers(1, 9))
    def forge(self, user: str, sequence: int) -> None:
        """I5: nobody was admitted with this."""
        issue = TicketIssue(user_id=user, event_id=self.event, sequence=sequence, number=1, timestamp=1)
        assert self.world.do(self.world.tickets.settle([Order(issue, "forged-0@1")])) == [UnknownAdmission()]

    # ---- tickets live on

    @rule(data=st.data(), to=st.sampled_from([TicketStatus.CONFIRMED, TicketStatus.CANCELLED, TicketStatus.EXPIRED]))
    @precondition(lambda self: self.tickets)
    def move(self, data: st.DataObject, to: TicketStatus) -> None:
        key = data.draw(st.sampled_from(sorted(self.tickets)))
        now = self.tickets[key]
        step = self.world.tickets.move(self.ids[key], key[0], to)
        if now is not to and not may_become(now, to):
            with pytest.raises(Conflict):
                self.world.do(step)
            return
        _, moved = self.world.do(step)
        assert moved == (now is not to), "a repeat moves nothing"
        if moved:
            self.reserved -= now.live and not to.live
            self.tickets[key] = to
            self.known[key[0]] = (to.seen_from_the_line, key[1])

    @rule(capacity=st.integers(0, 6))
    def resize(self, capacity: int) -> None:
        change = "update inventory set capacity = $2 where event_id = $1"
        if capacity >= self.reserved:
            self.world.execute(change, self.event, capacity)
            self.capacity = capacity
        else:
            with pytest.raises(asyncpg.CheckViolationError):
                self.world.execute(change, self.event, capacity)

    @rule()
    def hear(self) -> None:
        """Notification reads the facts and caches what became of everybody."""

        async def read() -> dict[str, Outcome]:
            async with self.world.database.connection() as connection:
                return await read_standings(self.world.database, connection, self.event, USERS)

        known = self.world.do(read())
        assert known.keys() == self.known.keys()
        self.world.do(self.world.store.remember(self.event, list(known.items())))
        for user, outcome in known.items():
            assert (outcome.status, outcome.sequence) == self._standing(user)
            before = self.cached.get(user, (Status.NONE, 0))[1]
            if user not in self.waiting and user not in self.claimed and outcome.sequence >= before:
                self.cached[user] = (outcome.status, outcome.sequence)

    def _standing(self, user: str) -> tuple[Status, int]:
        """A live ticket or an admission on its way first, else what came last."""
        return self.known[user]

    # ---- what must hold after every step

    @invariant()
    def the_line_is_what_was_answered(self) -> None:
        """I1: who waits or is claimed is where the answers said."""
        if self.valkey_epoch:
            keys = self.world.store.keys(self.event)
            assert self._places(keys.line) == self.waiting
            assert self._places(keys.claims) == self.claimed

    @invariant()
    def tickets_are_what_was_admitted(self) -> None:
        """I2, I3, I5: one live ticket per user, each with the number of its own admission."""
        found = self.world.execute("select * from tickets where event_id = $1", self.event)
        assert {(row["user_id"], row["sequence"]): row["status"] for row in found} == self.tickets
        assert all(self.admitted[row["user_id"], row["sequence"]] == row["number"] for row in found)
        live = [user for (user, _), status in self.tickets.items() if status.live]
        assert len(live) == len(set(live))

    @invariant()
    def nothing_is_oversold(self) -> None:
        """I4, I10: what is reserved is live or on its way, and never above the capacity."""
        rows = self.world.execute("select reserved, capacity from inventory where event_id = $1", self.event)
        on_its_way = len(self.admitted.keys() - self.tickets.keys())
        live = sum(status.live for status in self.tickets.values())
        for row in rows:
            assert row["reserved"] == self.reserved == live + on_its_way <= row["capacity"] == self.capacity

    def teardown(self) -> None:
        self.world.execute("delete from outbox where shard = $1", self.shard)

    @property
    def line(self) -> Any:
        async def read() -> Any:
            async with self.world.database.connection() as connection:
                return await read_line(self.world.database, connection, self.event)

        return self.world.do(read())

    def _places(self, key: str) -> dict[str, int]:
        flat = self.world.do(self.world.store.channel.command("ZRANGE", key, 0, -1, "WITHSCORES"))
        return {user.decode(): int(score) for user, score in flat}


def _in_order(places: dict[str, int]) -> list[Claim]:
    return sorted(itertools.starmap(Claim, places.items()), key=lambda claim: claim.sequence)


def _decoded(payload: str) -> TicketIssue:
    return msgspec.json.decode(payload, type=TicketIssue)


@pytest.fixture
def world(servers: Servers) -> Iterator[World]:
    world = World(servers)
    yield world
    world.close()


def explore(world: World, *phases: Phase) -> None:
    """The same examples in every run; one that fails is printed as the calls that lead to it."""
    run_state_machine_as_test(
        partial(Protocol, world),
        settings=settings(
            max_examples=60,
            stateful_step_count=40,
            deadline=None,
            derandomize=True,
            database=None,
            phases=phases,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_the_scripts_and_the_sql_do_what_the_model_says(world: World) -> None:
    explore(world, Phase.generate, Phase.shrink)


@pytest.mark.parametrize(
    ("module", "script", "cut", "put"),
    [
        (stores_claims, "claim", "state[2] ~= ARGV[2]", "false"),  # a ghost may claim
        (stores_claims, "claim", "redis.call('ZADD', KEYS[2], unpack(scored))", ""),  # out of the line without a claim
        (stores_claims, "clear", "tonumber(scores[i]) == sequence", "false"),  # what is in SQL stays claimed
        (stores_claims, "clear_admitted", "redis.call('DEL', KEYS[1], KEYS[2])", ""),
        (stores_line, "join", "call('INCRBY', sequences, #new) - #new", "0"),  # a number twice
    ],
)
def test_the_model_notices_a_script_that_lacks_a_step(
    world: World, monkeypatch: pytest.MonkeyPatch, *, module: ModuleType, script: str, cut: str, put: str
) -> None:
    broken = Script(script)
    assert cut in broken.text
    broken.__dict__["text"] = broken.text.replace(cut, put)
    monkeypatch.setattr(module, f"_{script.upper()}", broken)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        explore(world, Phase.generate)
