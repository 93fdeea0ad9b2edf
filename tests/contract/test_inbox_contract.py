"""The inbox in SQL: a repeat adds nothing, nothing appears late, nobody reads another's."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from fairgate.errors import InvalidRequest
from fairgate.notification.inbox import Inbox
from fairgate.stores.database import Database
from fairgate.stores.inbox import InboxStore, Name, Note
from tests.conftest import Servers
from tests.support.house import own_database
from tests.support.ticketing import ticket_in_sql

pytestmark = pytest.mark.asyncio


@pytest.fixture
async def database(servers: Servers) -> AsyncIterator[Database]:
    database = Database(servers.postgres_dsn, size=4)
    yield database
    await database.close()


@pytest.fixture
def store(database: Database) -> InboxStore:
    return InboxStore(database)


@pytest.fixture
def inbox(store: InboxStore) -> Inbox:
    return Inbox(store)


def note(user_id: str, id: str, **payload: object) -> Note:
    return Note(user_id, id, "test", msgspec.json.encode({"id": id, **payload}))


async def add_late(connection: object, user_id: str, id: str) -> None:
    await connection.execute(  # type: ignore[attr-defined]
        "insert into notifications (user_id, id, kind, payload) values ($1, $2, 'test', '{}')", user_id, id
    )


async def test_a_repeat_adds_nothing_and_keeps_the_first_content(store: InboxStore, inbox: Inbox, user_id: str) -> None:
    first = await store.add([note(user_id, "m1", n=1)])
    again = await store.add([note(user_id, "m1", n=2), note(user_id, "m2", n=3)])

    assert first.new == {Name(user_id, "m1")}
    assert again.new == {Name(user_id, "m2")}
    assert [item.payload["n"] for item in await inbox.list(user_id)] == [1, 3]


async def test_rows_come_in_the_order_of_their_transactions_also_where_the_number_gets_a_digit_more(
    database: Database, store: InboxStore, user_id: str
) -> None:
    async with database.connection() as connection:
        for id, tx in (("later", "10"), ("earlier", "9")):
            await connection.execute(
                "insert into notifications (user_id, id, kind, payload, tx) "
                "values ($1, $2, 'test', '{}', $3::text::xid8)",
                user_id,
                id,
                tx,
            )
    first = await store.after(user_id, None, 1)
    assert [item.id for item in first] == ["earlier"]
    assert [item.id for item in await store.after(user_id, first[0].cursor, 1)] == ["later"]
    assert [owned.item.id for owned in await store.unseen([user_id], 1)] == ["earlier"]
    assert [owned.item.id for owned in await store.unseen([user_id], 2)] == ["earlier", "later"]


async def test_rows_go_at_their_age_a_few_at_a_time_and_younger_ones_stay(servers: Servers, user_id: str) -> None:
    """In a database of its own: where notification runs, it is at it as well."""
    async with own_database(servers.postgres_dsn) as dsn:
        database = Database(dsn, size=2)
        store = InboxStore(database)
        await store.add([note(user_id, f"m{number}") for number in range(5)])
        tickets = [await ticket_in_sql(database, user_id, f"e{number}", number) for number in range(5)]
        await store.add_issued(tickets)
        async with database.connection() as connection:
            await connection.execute("update notifications set created_at = now() - interval '31 days' where id < 'm3'")
            await connection.execute(
                "update tickets_told set created_at = now() - interval '31 days' where ticket_id = $1",
                tickets[0].ticket_id,
            )
        pruned = [await store.prune(30, 2) for _ in range(3)]
        left = [item.id for item in await Inbox(store).list(user_id)]
        await database.close()
    assert pruned == [3, 1, 0]
    assert left == ["m3", "m4", *(ticket.message_id for ticket in tickets[1:])]


async def test_tickets_are_told_of_once_and_only_as_sql_has_them(
    database: Database, store: InboxStore, inbox: Inbox, user_id: str, event_id: str
) -> None:
    true = [await ticket_in_sql(database, f"{user_id}-{number}", event_id, number) for number in range(1, 4)]
    changes: list[dict[str, Any]] = [
        {"user_id": "thief"},
        {"event_id": f"{event_id}x"},
        {"number": 99},
        {"sequence": 99},
        {"status": "pending"},
        {"timestamp": true[2].timestamp + 1},
        {"timestamp": true[2].timestamp - 1},
        {"ticket_id": str(uuid.uuid4())},
    ]
    for change in changes:
        wrong = msgspec.structs.replace(true[2], **change)
        assert not await store.add_issued([*true[:2], wrong])
    assert await store.add_issued(true[:2])
    assert not await store.add_issued(true)
    assert await inbox.list("thief") == await inbox.list(true[2].user_id) == []
    for ticket in true[:2]:
        (item,) = await inbox.list(ticket.user_id)
        assert (item.id, item.kind) == (f"issued:{ticket.ticket_id}", "ticket:issued")
        assert (item.payload["number"], item.payload["timestamp"]) == (ticket.number, ticket.timestamp)


async def test_what_sql_cannot_hold_leaves_the_whole_batch_to_be_looked_at(
    database: Database, store: InboxStore, user_id: str, event_id: str
) -> None:
    true = await ticket_in_sql(database, user_id, event_id, 1)
    poison = msgspec.structs.replace(true, ticket_id=str(uuid.uuid4()), status="\0")
    asked = [true, poison]
    assert not await store.add_issued(asked)


async def test_a_tickets_row_says_what_the_ticket_says_when_it_is_read_in_the_language_of_then(
    database: Database, store: InboxStore, inbox: Inbox, user_id: str, event_id: str
) -> None:
    ticket = await ticket_in_sql(database, user_id, event_id, 7)
    await store.add_issued([ticket])
    await store.add([note(user_id, "m1", title="Hello")])

    titles = [item.payload["title"] for item in await inbox.list(user_id)]
    async with database.connection() as connection:
        await connection.execute("insert into users (user_id, locale) values ($1, 'ko')", user_id)
        await connection.execute("update tickets set status = 'cancelled' where user_id = $1", user_id)
    later = [owned.item for owned in await inbox.unseen([user_id])]

    assert titles == ["Your ticket has been issued!", "Hello"]
    assert [item.payload["title"] for item in later] == ["티켓 발급 완료!", "Hello"]
    assert (later[0].payload["status"], later[0].payload["ticketId"]) == ("cancelled", ticket.ticket_id)


async def test_a_ticket_that_somebody_deleted_is_in_nobodys_inbox(
    database: Database, store: InboxStore, inbox: Inbox, user_id: str, event_id: str
) -> None:
    edge = await inbox.edge()
    ticket = await ticket_in_sql(database, user_id, event_id, 1)
    await store.add_issued([ticket])
    async with database.connection() as connection:
        await connection.execute("delete from tickets where user_id = $1", user_id)

    assert await inbox.list(user_id) == await inbox.unseen([user_id]) == []
    assert (await inbox.since(edge, [user_id]))[1] == []


async def test_tickets_and_messages_are_one_inbox_in_one_order(
    database: Database, store: InboxStore, inbox: Inbox, user_id: str, event_id: str
) -> None:
    edge = await inbox.edge()
    tickets = [await ticket_in_sql(database, user_id, f"{event_id}-{n}", n) for n in range(1, 4)]
    for number, ticket in enumerate(tickets):
        await store.add([note(user_id, f"m{number}"), note(f"x-{user_id}", f"m{number}")])
        await store.add_issued([ticket])
    order = [id for number, ticket in enumerate(tickets) for id in (f"m{number}", ticket.message_id)]

    pages, cursor = [], None
    while page := await inbox.list(user_id, cursor, limit=1):
        pages += [item.id for item in page]
        cursor = page[-1].cursor
    swept = [owned.item.id for owned in (await inbox.since(edge, [user_id]))[1]]

    assert pages == swept == [owned.item.id for owned in await inbox.unseen([user_id])] == order


async def test_who_was_told_of_a_ticket_is_told_by_no_repeat(
    database: Database, store: InboxStore, user_id: str, event_id: str
) -> None:
    old, new = [await ticket_in_sql(database, f"{user_id}-{n}", event_id, n) for n in (1, 2)]
    assert await store.add_issued([old])
    notes = await store.notes_of([old, new])

    added = await store.add([*notes, *notes, note(user_id, "m1")])

    assert added.new == {Name(new.user_id, new.message_id), Name(user_id, "m1")}
    assert (await store.add(notes)).new == set()


async def test_only_its_owner_acknowledges_a_ticket_and_once(
    database: Database, store: InboxStore, inbox: Inbox, user_id: str, event_id: str
) -> None:
    ticket = await ticket_in_sql(database, user_id, event_id)
    await store.add_issued([ticket])
    mine, stranger = Name(user_id, ticket.message_id), Name(f"x-{user_id}", ticket.message_id)
    unknown = Name(user_id, f"issued:{uuid.uuid4()}")

    assert await inbox.seen_many([stranger, unknown, Name(user_id, "issued:nonsense")]) == set()
    assert await inbox.seen_among([mine]) == set()
    assert await inbox.seen_many([mine, mine, stranger]) == {mine}
    first = (await inbox.list(user_id))[0].seen_at
    assert await inbox.seen(user_id, ticket.message_id)

    assert first is not None
    assert (await inbox.list(user_id))[0].seen_at == first
    assert await inbox.seen_among([mine, stranger, unknown]) == {mine}
    assert await inbox.unseen([user_id]) == []


async def test_the_same_id_twice_in_one_batch_is_one_row(store: InboxStore, inbox: Inbox, user_id: str) -> None:
    added = await store.add([note(user_id, "m1"), note(user_id, "m1")])

    assert added.new == {Name(user_id, "m1")}
    assert len(await inbox.list(user_id)) == 1


async def test_what_sql_cannot_hold_is_refused_alone(store: InboxStore, inbox: Inbox, user_id: str) -> None:
    poison = Note(user_id, "bad", "test", b'{"text": "\\u0000"}')
    foreign = note("a user\n", "m")

    added = await store.add([note(user_id, "m1"), poison, note(user_id, "m2"), foreign, note(user_id, "m3")])

    assert {refused.id for refused, _ in added.refused} == {"bad", "m"}
    assert [item.id for item in await inbox.list(user_id)] == ["m1", "m2", "m3"]


async def test_a_cursor_never_skips_a_late_committer(
    database: Database, store: InboxStore, inbox: Inbox, user_id: str
) -> None:
    async with database.connection() as slow:
        transaction = slow.transaction()
        await transaction.start()
        await add_late(slow, user_id, "began-first")
        await store.add([note(user_id, "committed-first")])

        before = await inbox.list(user_id)
        await transaction.commit()
        after = await inbox.list(user_id, before[-1].cursor if before else None)

    assert [item.id for item in [*before, *after]] == ["began-first", "committed-first"]


async def test_unseen_does_not_wait_for_running_transactions(
    database: Database, store: InboxStore, inbox: Inbox, user_id: str
) -> None:
    async with database.connection() as slow:
        transaction = slow.transaction()
        await transaction.start()
        await add_late(slow, f"other-{user_id}", "running")
        await store.add([note(user_id, "m1")])

        assert [owned.item.id for owned in await inbox.unseen([user_id])] == ["m1"]
        await transaction.rollback()


async def test_a_sweep_finds_each_row_once_and_skips_no_late_committer(
    database: Database, store: InboxStore, inbox: Inbox, user_id: str
) -> None:
    edge = await inbox.edge()
    async with database.connection() as slow:
        transaction = slow.transaction()
        await transaction.start()
        await add_late(slow, user_id, "late")
        await store.add([note(user_id, "early")])
        edge, first = await inbox.since(edge, [user_id])
        await transaction.commit()
    edge, second = await inbox.since(edge, [user_id])
    edge, third = await inbox.since(edge, [user_id])

    assert sorted(owned.item.id for owned in first + second) == ["early", "late"]
    assert third == []


async def test_pages_join_without_gap_or_overlap(store: InboxStore, inbox: Inbox, user_id: str) -> None:
    await store.add([note(user_id, f"m{n:02}") for n in range(25)])
    seen: list[str] = []
    cursor = None
    while page := await inbox.list(user_id, cursor, limit=10):
        seen += [item.id for item in page]
        cursor = page[-1].cursor

    assert seen == [f"m{n:02}" for n in range(25)]


async def test_seen_is_idempotent_and_keeps_the_first_moment(store: InboxStore, inbox: Inbox, user_id: str) -> None:
    await store.add([note(user_id, "m1")])

    assert await inbox.seen(user_id, "m1")
    first = (await inbox.list(user_id))[0].seen_at
    assert await inbox.seen(user_id, "m1")

    assert first is not None
    assert (await inbox.list(user_id))[0].seen_at == first
    assert await inbox.unseen([user_id]) == []


async def test_nobody_can_acknowledge_or_read_what_is_anothers(store: InboxStore, inbox: Inbox, user_id: str) -> None:
    stranger = f"x-{uuid.uuid4().hex[:8]}"
    await store.add([note(user_id, "m1")])

    assert not await inbox.seen(stranger, "m1")
    assert await inbox.list(stranger) == []
    assert await inbox.seen_many([Name(stranger, "m1")]) == set()
    assert await inbox.seen_among([Name(user_id, "m1"), Name(stranger, "m1")]) == set()


async def test_unseen_gives_each_user_the_oldest_first(store: InboxStore, user_id: str) -> None:
    other = f"x-{user_id}"
    await store.add([note(user_id, f"m{n}") for n in range(5)] + [note(other, "n0")])

    some = await store.unseen([user_id, other], each=2)

    assert [(owned.user_id, owned.item.id) for owned in some] == [(user_id, "m0"), (user_id, "m1"), (other, "n0")]


@pytest.mark.parametrize("bad", ["", "0", "-", "1-", "-1", "1-2-3", "a-b", "1 -2", "9" * 20 + "-1", "1-" + "9" * 19])
async def test_a_cursor_that_we_did_not_give_is_refused(inbox: Inbox, user_id: str, bad: str) -> None:
    with pytest.raises(InvalidRequest):
        await inbox.list(user_id, bad)


async def test_a_cursor_of_another_user_shows_only_ones_own(store: InboxStore, inbox: Inbox, user_id: str) -> None:
    other = f"x-{user_id}"
    await store.add([note(other, "theirs")])
    cursor = (await inbox.list(other))[0].cursor
    await store.add([note(user_id, "mine")])

    assert [item.id for item in await inbox.list(user_id, cursor)] == ["mine"]
