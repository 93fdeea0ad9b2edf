"""The live role against real SQL and Valkey: at least once until acknowledged, and only to whom it belongs."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator

import aiohttp
import pytest

from fairgate.domain.line import LineState
from fairgate.domain.place import Place, Status
from fairgate.http import live as live_module
from fairgate.http import live_duties
from fairgate.http.live_sockets import PER_USER
from fairgate.stores.inbox import Name, Note
from fairgate.stores.keys import live_users
from fairgate.stores.valkey import client
from tests.conftest import Servers
from tests.support.live import LiveProcess, live_process, some_line

pytestmark = pytest.mark.asyncio


@pytest.fixture
async def live(servers: Servers) -> AsyncIterator[LiveProcess]:
    async with live_process(servers) as process:
        yield process


async def hint(live: LiveProcess, user_id: str) -> str:
    note = await live.note(user_id)
    await live.hint(note)
    return note.id


async def test_who_is_connected_is_told_and_the_acknowledgement_reaches_sql(live: LiveProcess, user_id: str) -> None:
    heard = await live.connect(user_id)

    async with live.server.delivery.signals["seen"].expect(within_s=20):
        id = await hint(live, user_id)

    # Again only where the acknowledgement took longer than `AGAIN_FIRST_S`.
    assert {payload["id"] for payload in heard.of("ticket:issued")} == {id}
    assert await live.inbox.seen_among([Name(user_id, id)]) == {Name(user_id, id)}


async def test_who_was_away_gets_it_on_return_and_after_the_acknowledgement_not_again(
    live: LiveProcess, user_id: str
) -> None:
    note = await live.note(user_id)

    async with live.server.delivery.signals["seen"].expect(within_s=20):
        first = await live.connect(user_id)
    await first.client.disconnect()
    later = await live.note(user_id)
    second = await live.connect(user_id)
    told = await second.until("ticket:issued")

    assert {payload["id"] for payload in first.of("ticket:issued")} == {note.id}
    assert {payload["id"] for payload in told} == {later.id}


async def test_what_is_not_acknowledged_is_sent_again(live: LiveProcess, user_id: str) -> None:
    heard = await live.connect(user_id, acks=False)

    async with live.server.delivery.signals["again"].expect(within_s=20):
        id = await hint(live, user_id)

    assert {payload["id"] for payload in await heard.until("ticket:issued", 2)} == {id}


async def early_hint(live: LiveProcess, user_id: str) -> Note:
    """Of a ticket whose row is still on its way through Kafka."""
    note = Note(user_id, f"issued:{uuid.uuid4()}", "ticket:issued", b'{"id":"early"}')
    await live.hint(note)
    return note


async def test_an_acknowledgement_may_come_before_the_row(live: LiveProcess, user_id: str) -> None:
    heard = await live.connect(user_id)
    note = await early_hint(live, user_id)
    await heard.until("ticket:issued")
    async with live.server.delivery.signals["seen"].expect(within_s=20):
        await live.store.add([note])
    assert await live.inbox.seen_among([note.name]) == {note.name}
    async with live.server.sweep.signals["swept"].expect(within_s=20):
        live.server.sweep.wake.set()
    assert len(heard.of("ticket:issued")) == 1


async def test_what_has_no_row_yet_is_sent_again_too(live: LiveProcess, user_id: str) -> None:
    heard = await live.connect(user_id, acks=False)
    async with live.server.delivery.signals["again"].expect(within_s=20):
        await early_hint(live, user_id)
    assert len(await heard.until("ticket:issued", 2)) == 2


async def test_what_was_acknowledged_on_another_device_is_not_sent_again(live: LiveProcess, user_id: str) -> None:
    heard = await live.connect(user_id, acks=False)
    id = await hint(live, user_id)
    await heard.until("ticket:issued")
    await live.inbox.seen(user_id, id)

    with pytest.raises(TimeoutError):
        await heard.until("ticket:issued", 2, within_s=2.8)


async def test_a_lost_hint_is_found_by_the_sweep(live: LiveProcess, user_id: str) -> None:
    heard = await live.connect(user_id)
    async with live.server.sweep.signals["swept"].expect(within_s=20):
        live.server.sweep.wake.set()
    note = await live.note(user_id)
    live.server.sweep.wake.set()

    assert [payload["id"] for payload in await heard.until("ticket:issued")] == [note.id]


async def test_every_device_of_the_user_is_told_and_nobody_else(live: LiveProcess, user_id: str) -> None:
    phone, laptop, stranger = [await live.connect(user) for user in (user_id, user_id, f"x-{user_id}")]

    await hint(live, user_id)

    assert await phone.until("ticket:issued") == await laptop.until("ticket:issued")
    assert stranger.events == []


@pytest.mark.parametrize("event", ["join", "subscribe", "enter_room", "joinRoom", "room", "ticket:issued"])
async def test_no_event_of_a_client_opens_anothers_room(live: LiveProcess, user_id: str, event: str) -> None:
    victim, thief = await live.connect(user_id), await live.connect(f"x-{user_id}")
    for guess in (user_id, f"user:{user_id}", {"room": user_id, "userId": user_id}, [live.server.wire.room(user_id)]):
        await thief.client.emit(event, guess)

    await hint(live, user_id)
    await victim.until("ticket:issued")

    assert thief.events == []


@pytest.mark.parametrize(
    "auth", [None, {}, {"token": ""}, {"token": 7}, {"token": "x" * 600}, {"token": "forged"}, "a"]
)
async def test_without_a_session_nobody_gets_in(live: LiveProcess, auth: object) -> None:
    assert await live.refused(auth) == "no-session"
    assert len(live.server.sockets) == 0


async def test_the_cookie_of_the_session_counts_too(live: LiveProcess, user_id: str) -> None:
    await live.connect(user_id, auth={"token": None}, headers={"Cookie": f"a=b; fairgate_session=token-{user_id}"})

    assert set(live.server.sockets.users) == {user_id}


async def test_a_session_that_ended_cuts_its_socket(live: LiveProcess, user_id: str) -> None:
    other = f"x-{user_id}"
    heard, stays = await live.connect(user_id), await live.connect(other)
    live.ended.add(f"token-{user_id}")

    await live.server.guard.check_sessions()
    await asyncio.wait_for(heard.gone.wait(), 3)

    assert set(live.server.sockets.users) == {other}
    assert stays.client.connected


async def test_a_transport_that_never_says_who_it_is_is_cut(live: LiveProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_module, "INTRODUCE_S", 0.0)
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{live.url}/socket.io/?EIO=4&transport=polling") as answer:
            assert answer.status == 200
        assert len(live.server.wire.transports()) == 1
        async with live.server.guard.signals["cut"].expect(within_s=20):
            live.server.guard.wake.set()

    assert live.server.wire.transports() == []


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://127.0.0.1:1", "http://127.0.0.1.evil.example"]
)
async def test_a_foreign_origin_is_refused(live: LiveProcess, origin: str) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{live.url}/socket.io/?EIO=4&transport=polling", headers={"Origin": origin}) as answer,
    ):
        assert answer.status == 400
        assert "Access-Control-Allow-Origin" not in answer.headers


async def test_the_apis_own_pages_may_connect(live: LiveProcess, servers: Servers) -> None:
    for origin in (live.url, f"http://127.0.0.1:{servers.config.ports.api}"):
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{live.url}/socket.io/?EIO=4&transport=polling", headers={"Origin": origin}) as answer,
        ):
            assert answer.status == 200
            assert answer.headers["Access-Control-Allow-Origin"] == origin


async def test_a_user_has_a_bounded_number_of_connections(live: LiveProcess, user_id: str) -> None:
    for _ in range(PER_USER):
        await live.connect(user_id)

    assert await live.refused({"token": f"token-{user_id}"}) == "too-many-requests"
    assert len(live.server.sockets) == PER_USER


@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_a_huge_message_costs_its_sender_the_connection_and_nobody_else(
    live: LiveProcess, user_id: str, transport: str
) -> None:
    stays = await live.connect(f"x-{user_id}")
    heard = await live.connect(user_id, transports=[transport])

    await heard.client.emit("queue:watch", {"eventId": "x" * 100_000})
    await asyncio.wait_for(heard.gone.wait(), 10)

    assert stays.client.connected
    assert set(live.server.sockets.users) == {f"x-{user_id}"}


async def test_positions_come_at_once_and_then_by_distance_with_one_question_per_tick(
    live: LiveProcess, event_id: str, user_id: str
) -> None:
    users = [f"{user_id}-{n}" for n in range(3)]
    live.queue.lines[event_id] = some_line(event_id, rate=1.0)
    live.queue.places = {
        users[0]: Place(Status.WAITING, 7, 1, 500),
        users[1]: Place(Status.WAITING, 8, 2, 500),
        users[2]: Place(Status.WAITING, 500, 494, 500),
    }
    near, second, far = [await live.connect(user, auth={"eventId": event_id}) for user in users]
    await far.until("queue:position")
    await second.until("queue:position", 3)

    first = near.of("queue:position")[0]
    assert (first["eventId"], first["userId"], first["status"]) == (event_id, users[0], "waiting")
    assert (first["position"], first["size"], first["estimatedWaitSeconds"]) == (1, 500, 1)
    assert len(far.of("queue:position")) == 1
    assert len(live.queue.calls) < len(near.of("queue:position")) + len(second.of("queue:position"))


async def test_a_change_of_the_line_is_told_to_all_who_watch(live: LiveProcess, event_id: str, user_id: str) -> None:
    live.queue.lines[event_id] = some_line(event_id)
    heard = await live.connect(user_id)
    assert (await heard.client.call("queue:watch", {"eventId": event_id}))["ok"]
    await heard.until("queue:state")
    live.queue.lines[event_id] = some_line(event_id, state=LineState.PAUSED, rate=3.0)

    states = await heard.until("queue:state", 2)

    assert [(state["state"], state["rate"]) for state in states] == [("open", 10.0), ("paused", 3.0)]


async def test_who_watches_is_told_that_the_pipeline_slows_the_line(
    live: LiveProcess, event_id: str, user_id: str
) -> None:
    live.queue.lines[event_id] = some_line(event_id)
    heard = await live.connect(user_id, auth={"eventId": event_id})
    await heard.until("queue:state")
    live.queue.bound = "lag"

    states = await heard.until("queue:state", 2)

    assert [state["bound"] for state in states] == ["none", "lag"]


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        ({"eventId": "no such event"}, "invalid-request"),
        ({"eventId": "join"}, "invalid-request"),
        ({"eventId": "nobody-made-this"}, "unknown-event"),
        ({"eventId": 7}, "invalid-request"),
        ({}, "invalid-request"),
        (None, "invalid-request"),
        ([[[]]], "invalid-request"),
        ("x", "invalid-request"),
    ],
)
async def test_a_question_that_makes_no_sense_gets_an_answer_that_does(
    live: LiveProcess, user_id: str, asked: object, error: str
) -> None:
    heard = await live.connect(user_id)
    answer = await heard.client.call("queue:watch", asked)

    assert (answer["ok"], answer["error"]) == (False, error)


async def test_lines_per_socket_and_questions_per_second_are_bounded(live: LiveProcess, user_id: str) -> None:
    events = [f"e-{uuid.uuid4().hex[:8]}" for _ in range(30)]
    live.queue.lines = {event: some_line(event) for event in events}
    heard = await live.connect(user_id)

    answers = [await heard.client.call("queue:watch", {"eventId": event}) for event in events]

    assert sum(answer["ok"] for answer in answers) == 8
    assert {answer.get("error") for answer in answers[8:]} == {"invalid-request", "too-many-requests"}


async def test_a_stop_sends_clients_on_their_way_and_clears_presence(servers: Servers, user_id: str) -> None:
    async with live_process(servers) as live:
        heard = await live.connect(user_id)
        assert live.server.process in await live.presence.where([user_id])
        presence = live.presence
        await live.http.stop()
        await asyncio.wait_for(heard.gone.wait(), 3)
        for service in live.server.services:
            await service.stop()
        assert live.server.process not in await presence.where([user_id])


async def test_who_leaves_leaves_nothing_behind(live: LiveProcess, event_id: str, user_id: str) -> None:
    live.queue.lines[event_id] = some_line(event_id)
    for n in range(5):
        heard = await live.connect(f"{user_id}-{n}", acks=False, auth={"eventId": event_id})
        await hint(live, f"{user_id}-{n}")
        await heard.until("ticket:issued")
        await heard.client.disconnect()
    async with live.server.keeper.signals["changed"].expect(2):
        live.server.keeper.wake.set()

    rooms = live.server.wire.sio.manager
    assert len(live.server.sockets) == 0
    assert (rooms.rooms.get("/", {}), rooms._rooms_of, rooms.callbacks) == ({}, {}, {})
    assert (live.server.delivery._boxes, dict(live.server.watch._due)) == ({}, {})
    assert await live.presence.where([f"{user_id}-{n}" for n in range(5)]) == {}


async def test_an_ear_that_was_cut_off_listens_again(live: LiveProcess, servers: Servers, user_id: str) -> None:
    heard = await live.connect(user_id)
    async with live.server.hints.signals["listening"].expect(0, within_s=20):
        pass
    valkey = client(servers.valkey_url)
    await valkey.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    await valkey.aclose()

    async with live.server.hints.signals["alive"].expect(within_s=20):
        pass
    id = await hint(live, user_id)

    assert [payload["id"] for payload in await heard.until("ticket:issued")] == [id]


async def test_a_deaf_ear_is_noticed(live: LiveProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_duties, "DEAF_S", 0.3)

    async def silence(*_: object) -> int:
        return 0

    with monkeypatch.context() as patched:
        patched.setattr(live.presence, "tell", silence)
        async with live.server.hints.signals["listening"].expect(within_s=20):
            pass


async def test_presence_that_was_wiped_is_written_anew(live: LiveProcess, servers: Servers, user_id: str) -> None:
    await live.connect(user_id)
    valkey = client(servers.valkey_url)
    async with live.server.keeper.signals["repaired"].expect(within_s=20):
        await valkey.delete(live_users(live.server.process))
    async with live.server.keeper.signals["changed"].expect(within_s=20):
        live.server.keeper.wake.set()
    await valkey.aclose()

    assert (await live.presence.where([user_id]))[live.server.process] == [user_id]
