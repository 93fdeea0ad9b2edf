"""The official JavaScript client, unchanged and with its defaults, against one live process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from fairgate.domain.place import Place, Status
from fairgate.stores.inbox import Name
from tests.conftest import Servers
from tests.support.javascript import running
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


async def test_it_polls_upgrades_hears_and_acknowledges(live: LiveProcess, user_id: str) -> None:
    async with running("listen.mjs", live.url, f"token-{user_id}") as page:
        assert (await page.event("open"))[0]["transport"] == "polling"
        assert (await page.event("upgrade"))[0]["transport"] == "websocket"
        async with live.server.delivery.signals["seen"].expect(within_s=20):
            id = await hint(live, user_id)
        heard = await page.event("ticket:issued")

    assert [(one["payload"]["id"], one["wantsAck"]) for one in heard] == [(id, True)]
    assert await live.inbox.seen_among([Name(user_id, id)]) == {Name(user_id, id)}


async def test_a_page_that_was_away_hears_it_once_on_return(live: LiveProcess, user_id: str) -> None:
    note = await live.note(user_id)
    seen = live.server.delivery.signals["seen"].expect(within_s=20)
    async with running("listen.mjs", live.url, f"token-{user_id}") as page, seen:
        await page.event("ticket:issued")
    async with running("listen.mjs", live.url, f"token-{user_id}") as again:
        await again.event("upgrade")
        last = await live.note(user_id, kind="news")
        heard = await again.event("notification")

    assert [one["payload"]["id"] for one in page.of("ticket:issued")] == [note.id]
    assert [one["payload"]["id"] for one in heard] == [last.id]
    assert again.of("ticket:issued") == []


async def test_what_happens_while_the_transport_is_gone_arrives_after_the_reconnect(
    live: LiveProcess, user_id: str
) -> None:
    async with running("listen.mjs", live.url, f"token-{user_id}") as page:
        await page.event("upgrade")
        note = await live.note(user_id)
        for eio_sid in live.server.wire.transports():
            await live.server.wire.drop(eio_sid)
        gone = (await page.event("disconnect"))[0]
        await page.event("connect", 2)
        heard = await page.event("ticket:issued")

    assert gone["active"], "the client must come back by itself"
    assert [one["payload"]["id"] for one in heard] == [note.id]


async def test_an_ended_session_is_told_and_the_page_does_not_hammer(live: LiveProcess, user_id: str) -> None:
    async with running("listen.mjs", live.url, f"token-{user_id}") as page:
        await page.event("upgrade")
        live.ended.add(f"token-{user_id}")
        await live.server.guard.check_sessions()
        gone = (await page.event("disconnect"))[0]
    async with running("listen.mjs", live.url, "forged") as stranger:
        refused = (await stranger.event("connect_error"))[0]

    assert (gone["reason"], gone["active"]) == ("io server disconnect", False)
    assert (refused["message"], refused["active"]) == ("no-session", False)


async def test_it_watches_its_line(live: LiveProcess, event_id: str, user_id: str) -> None:
    live.queue.lines[event_id] = some_line(event_id)
    live.queue.places[user_id] = Place(Status.WAITING, 42, 3, 10)
    async with running("listen.mjs", live.url, f"token-{user_id}", json.dumps({"eventId": event_id})) as page:
        place = (await page.event("queue:position"))[0]["payload"]
        state = (await page.event("queue:state"))[0]["payload"]
        page.order(emit=["queue:unwatch", {"eventId": event_id}])
        answer = (await page.event("answer"))[0]["payload"]
        before = len(page.of("queue:position"))
        await asyncio.sleep(1.5)

    assert (place["position"], place["size"], place["sequence"]) == (3, 10, 42)
    assert state == {"eventId": event_id, "state": "open", "rate": 10.0, "size": 1, "soldOut": False, "bound": "none"}
    assert answer == {"ok": True, "eventId": event_id}
    assert len(page.of("queue:position")) == before
