"""Small sales that reach every step of the flow, for tests that break things meanwhile.

`gathered`: a closed door, leavers, listeners, then more fans than tickets, until all is sold out. `held`: tickets to
confirm or cancel. `given`: the shop's own act, and a hold that runs out. Each ends whatever dies on the way: every fan
knows its end and was told.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import aiohttp
from confluent_kafka import Message, Producer

from fairgate.checker.history import History
from fairgate.checker.places import signs
from fairgate.config import Config
from fairgate.crowd.fan import Fan
from fairgate.crowd.http import Http
from fairgate.crowd.listener import Listener
from fairgate.crowd.site import Site
from fairgate.crowd.traits import Traits
from fairgate.streams.settings import connection
from fairgate.streams.topics import Names

LOOK_S = 0.1
LISTENER, LEAVER, PLAIN = Traits(listens=True), Traits(leaves=True), Traits()
CROWD = [LISTENER, PLAIN, LEAVER, LEAVER, LISTENER, PLAIN, PLAIN]


class Sales:
    """All sales of a test on one stack; `histories`, `events`, `acts` and `bad` are for the judge."""

    def __init__(self, config: Config, http: Http, sockets: aiohttp.ClientSession) -> None:
        assert config.operator_token is not None and config.service_token is not None
        self._config, self._http, self._sockets = config, http, sockets
        self._operator = config.operator_token.get_secret_value()
        self._service = config.service_token.get_secret_value()
        self._site = Site(http)
        self._producer = Producer({**connection(config), "enable.idempotence": True, "acks": "all"})
        self.events: list[str] = []
        self.histories: list[History] = []
        self.acts: set[tuple[str, str]] = set()
        self.bad: set[str] = set()

    async def gathered(self, opens: Callable[[str], Any] | None = None) -> None:
        """`opens` is awaited when all stand in the line, before the door is opened."""
        event_id = await self._event(state="paused", capacity=4)
        fans = self._fans(event_id, CROWD)
        living = [asyncio.create_task(fan.live()) for fan in fans]
        try:
            await _until(lambda: all(_stands(fan.history, who.leaves) for fan, who in zip(fans, CROWD, strict=True)))
            await self._spoil()
            if opens is not None:
                await opens(event_id)
            await self._asked(f"/admin/events/{event_id}/open", {}, self._operator)
            await asyncio.gather(*living)
        finally:
            for task in living:
                task.cancel()

    async def held(self) -> None:
        """The first ticket comes back and goes to the next in line; the others are confirmed."""
        event_id = await self._event(state="open", capacity=3, holdSeconds=600)
        verbs = iter(["cancel"])
        fans = self._fans(event_id, [PLAIN] * 4)
        await asyncio.gather(*(fan.live() for fan in fans), *(self._pay(fan, verbs) for fan in fans))

    async def given(self) -> None:
        """The shop's own act, asked twice as after an answer that was lost; the ticket is left to expire."""
        event_id = await self._event(state="open", capacity=1, holdSeconds=1)
        guest = f"guest-{event_id}"
        self.acts.add((event_id, guest))
        for _ in range(2):
            await self._asked("/tickets/issue", {"userId": guest, "eventId": event_id}, self._service)

    # ---- the shop

    async def _event(self, **settings: Any) -> str:
        event_id = f"crash-{uuid.uuid4().hex[:10]}"
        await self._asked("/admin/events", {"eventId": event_id, "rate": 1_000, **settings}, self._operator)
        await self._site.get(f"/queue/{event_id}")
        self.events.append(event_id)
        return event_id

    async def _pay(self, fan: Fan, verbs: Iterator[str]) -> None:
        await _until(lambda: bool(fan.history.end))
        ticket_id = next(call.ticket_id for call in fan.history.calls if call.ticket_id)
        await self._asked(f"/tickets/{ticket_id}/{next(verbs, 'confirm')}", {}, self._service)

    async def _asked(self, path: str, body: dict[str, Any], token: str) -> None:
        """Until there is an answer: done now, or a conflict with what an answer that was lost had done."""
        headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        while True:
            with contextlib.suppress(OSError, TimeoutError):
                answer = await self._http.ask("POST", path, headers, json.dumps(body).encode())
                if answer.status < 300 or answer.status == 409:
                    return
            await asyncio.sleep(LOOK_S)

    # ---- the crowd

    def _fans(self, event_id: str, traits: list[Traits]) -> list[Fan]:
        url = f"http://{self._config.host}:{self._config.ports.live}"

        def listener(token: str, hear: Callable[[dict[str, Any]], None]) -> Listener:
            return Listener(url, token, event_id, self._sockets, hear)

        fans = [Fan(each, self._site, event_id, listener) for each in traits]
        self.histories += [fan.history for fan in fans]
        return fans

    async def _spoil(self) -> None:
        """A message that nobody can read, for each stage that reads."""
        names = Names(self._config.topic_prefix)
        for topic, logical in ((names.ticket_issue, "ticket-issue"), (names.notification, "notification")):
            self.bad.add(f"{logical}-{await asyncio.to_thread(self._bad_message, topic)}")

    def _bad_message(self, topic: str) -> str:
        placed: list[Message] = []
        self._producer.produce(topic, b"{", on_delivery=lambda _, message: placed.append(message))
        self._producer.flush(30)
        assert placed and placed[0].error() is None
        return f"{placed[0].partition()}@{placed[0].offset()}"

    def unfinished(self) -> Iterator[str]:
        for fan in self.histories:
            if not fan.done:
                yield f"{fan.user_id} of {fan.event_id}: {signs(fan)} {fan.refused}"


def _stands(fan: History, leaves: bool) -> bool:
    """In the line; who wanted to leave has left, and come back."""
    verbs = [call.what for call in fan.calls if call.outcome == "ok" and call.what != "position"]
    return verbs[-1:] == ["join"] and ("leave" in verbs or not leaves)


async def _until(true: Callable[[], bool]) -> None:
    """The caller bounds it."""
    while not true():  # noqa: ASYNC110 - what a fan knows, it tells nobody
        await asyncio.sleep(LOOK_S)
