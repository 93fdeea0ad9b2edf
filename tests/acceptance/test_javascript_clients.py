"""What an existing shop brings along works unchanged: the official Socket.IO client, kafkajs, Kafka's own tools."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from tests.support.console import read_all
from tests.support.javascript import run, running

pytestmark = pytest.mark.asyncio

TOLD_S = 30.0


@dataclass
class Shop:
    """The stack from outside, as a shop's backend and its visitors see it."""

    stack: Any
    http: aiohttp.ClientSession

    @property
    def bootstrap(self) -> str:
        return str(self.stack.config.kafka_bootstrap)

    def topic(self, name: str) -> str:
        return f"{self.stack.config.topic_prefix}{name}"

    async def guest(self) -> tuple[str, str]:
        """User id and token of a new visitor."""
        async with self.http.post(f"{self.stack.api_url}/users/sessions", json={}) as answer:
            assert answer.status == 201, await answer.text()
            session = await answer.json()
        return session["userId"], session["token"]

    async def issue(self, user_id: str) -> dict[str, Any]:
        """The shop gives a ticket to the lobby by itself."""
        secret = self.stack.config.service_token.get_secret_value()
        async with self.http.post(
            f"{self.stack.api_url}/tickets/issue",
            json={"userId": user_id, "eventId": "lobby"},
            headers={"Authorization": f"Bearer {secret}"},
        ) as answer:
            assert answer.status in (200, 201), await answer.text()
            return dict(await answer.json())

    async def inbox(self, token: str) -> list[dict[str, Any]]:
        async with self.http.get(
            f"{self.stack.api_url}/notifications", headers={"Authorization": f"Bearer {token}"}
        ) as answer:
            assert answer.status == 200, await answer.text()
            return list((await answer.json())["notifications"])

    async def told(self, token: str, count: int) -> None:
        """Wait until the inbox holds so many."""
        await self._until(token, lambda items: len(items) >= count)

    async def seen(self, token: str, id: str) -> None:
        """Wait until the acknowledgement has reached the inbox."""
        await self._until(token, lambda items: any(item["id"] == id and item["seenAt"] for item in items))

    async def _until(self, token: str, fits: Callable[[list[dict[str, Any]]], bool]) -> None:
        async with asyncio.timeout(TOLD_S):
            while not fits(await self.inbox(token)):
                await asyncio.sleep(0.1)


@pytest.fixture
async def shop(stack: Any) -> AsyncIterator[Shop]:
    async with aiohttp.ClientSession() as http:
        yield Shop(stack, http)


async def test_a_page_is_told_of_its_ticket_and_acknowledges_it(shop: Shop) -> None:
    user_id, token = await shop.guest()
    async with running("listen.mjs", shop.stack.live_url, token) as page:
        await page.event("upgrade")
        ticket = await shop.issue(user_id)
        heard = (await page.event("ticket:issued", within_s=TOLD_S))[0]["payload"]
        await shop.seen(token, heard["id"])

    assert heard["id"] == f"issued:{ticket['ticketId']}"
    assert (heard["userId"], heard["eventId"], heard["title"]) == (user_id, "lobby", "Your ticket has been issued!")
    assert len(page.of("ticket:issued")) == 1


async def test_a_page_that_was_away_is_told_once_on_return(shop: Shop) -> None:
    user_id, token = await shop.guest()
    ticket = await shop.issue(user_id)
    await shop.told(token, 1)
    async with running("listen.mjs", shop.stack.live_url, token) as page:
        heard = (await page.event("ticket:issued", within_s=TOLD_S))[0]["payload"]
        await shop.seen(token, heard["id"])
    async with running("listen.mjs", shop.stack.live_url, token) as again:
        await again.event("upgrade")
        await run("kafka.mjs", "send", shop.bootstrap, shop.topic("notification"), user_id, message(user_id))
        await again.event("notification", within_s=TOLD_S)

    assert heard["ticketId"] == ticket["ticketId"]
    assert again.of("ticket:issued") == []


async def test_nobody_enters_anothers_room(shop: Shop) -> None:
    victim_id, victim = await shop.guest()
    _, thief = await shop.guest()
    async with (
        running("listen.mjs", shop.stack.live_url, victim) as page,
        running("listen.mjs", shop.stack.live_url, thief) as other,
    ):
        await page.event("upgrade")
        await other.event("upgrade")
        for name in ("join", "joinRoom", "subscribe", "room", "enter_room"):
            other.order(emit=[name, victim_id])
            other.order(emit=[name, {"room": f"user:{victim_id}", "userId": victim_id}])
        await shop.issue(victim_id)
        await page.event("ticket:issued", within_s=TOLD_S)

    assert other.of("ticket:issued") == []


async def test_kafkajs_sends_a_message_that_reaches_its_user(shop: Shop) -> None:
    user_id, token = await shop.guest()
    async with running("listen.mjs", shop.stack.live_url, token) as page:
        await page.event("upgrade")
        sent = message(user_id)
        await run("kafka.mjs", "send", shop.bootstrap, shop.topic("notification"), user_id, sent)
        heard = (await page.event("notification", within_s=TOLD_S))[0]["payload"]

    expected = json.loads(sent)
    assert (heard["id"], heard["title"], heard["data"]) == (expected["messageId"], expected["title"], expected["data"])


async def test_kafkajs_reads_that_a_ticket_was_issued(shop: Shop) -> None:
    user_id, _ = await shop.guest()
    topic = shop.topic("ticket-issued")
    async with running("kafka.mjs", "read", shop.bootstrap, topic, user_id) as reader:
        ticket = await shop.issue(user_id)
        record = (await reader.until(lambda line: line.get("key") == user_id, within_s=TOLD_S))[0]

    value = json.loads(record["value"])
    assert (value["ticketId"], value["eventId"]) == (ticket["ticketId"], "lobby")
    assert record["headers"]["ce_id"] == f"issued:{ticket['ticketId']}"


async def test_kafkas_own_console_consumer_reads_the_topics(shop: Shop) -> None:
    user_id, token = await shop.guest()
    await run("kafka.mjs", "send", shop.bootstrap, shop.topic("notification"), user_id, message(user_id))
    await shop.issue(user_id)
    await shop.told(token, 2)

    for topic in ("ticket-issued", "notification"):
        key, _, value = (await read_all(shop.bootstrap, shop.topic(topic), 1))[0].partition(" ")
        assert json.loads(value)["userId"] == key


def message(user_id: str) -> str:
    data = {"gate": "B", "한국어": "네"}
    base = {"messageId": f"m-{uuid.uuid4().hex[:12]}", "userId": user_id, "kind": "shop:doors", "timestamp": 1}
    return json.dumps({**base, "title": "Doors are open", "body": "Gate B", "data": data})
