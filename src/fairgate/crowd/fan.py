"""One fan: comes, joins, waits like a person, gets a ticket or hears that it is sold out, and sees that it was told."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable
from typing import Any

from fairgate.checker.history import ENDED_WITH_TICKET, ENDS, Call, History, Told
from fairgate.crowd.listener import Listener
from fairgate.crowd.site import Answer, Refused, Site
from fairgate.crowd.traits import Traits

LOOK_PER_WAIT = 0.2  # near the turn one looks often, far back now and then
INBOX_FIRST_S, INBOX_MAX_S = 0.5, 4.0

Connect = Callable[[str, Callable[[dict[str, Any]], None]], Listener]


class Fan:
    """`live` ends when the fan knows its end and was told of it. What it saw is in `history`, also when cancelled."""

    def __init__(self, traits: Traits, site: Site, event_id: str, connect: Connect) -> None:
        self._traits, self._site, self._event_id, self._connect = traits, site, event_id, connect
        self.history = History(event_id=event_id, listens=traits.listens, calls=[], told=[])
        self._token = ""
        self._place_token: str | None = None
        self._news = asyncio.Event()
        self._listener: Listener | None = None
        self._estimated_s: float | None = None
        self._soon_s = traits.habits.soon_s
        self._sent_home = asyncio.Event()

    @property
    def connection(self) -> str:
        """For people who wonder why this fan still waits."""
        return "no socket" if self._listener is None else self._listener.state

    async def live(self) -> None:
        self.history.arrived_at = time.monotonic()
        background: list[asyncio.Task[None]] = []
        try:
            await self._begin_session()
            place = await self._join()
            if self._traits.listens:
                background = self._listen()
            place = await self._change_mind(place)
            await self._wait_for_the_end(place)
            await self._finish()
        except Refused as error:
            self.history.refused = str(error)
        finally:
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)

    def look(self) -> None:
        """Look now instead of later."""
        self._news.set()

    def send_home(self) -> None:
        """Who only lingers may go."""
        self._sent_home.set()

    async def _finish(self) -> None:
        if not self._traits.stays:
            self.history.quit = True
            return
        await self._see_that_one_was_told()
        self.history.done = True
        if self._traits.lingers:
            await self._sent_home.wait()

    # ---- coming

    async def _begin_session(self) -> None:
        """A lost answer costs a session that nobody uses: the guest is another one then."""
        made = (await self._site.post("/users/sessions", {})).body
        self._token, self.history.user_id = made["token"], made["userId"]

    async def _join(self) -> Call:
        if not self._traits.joins_twice or self.history.joined:
            return await self._call("join")
        if random.random() < 0.5:  # an impatient double click
            return (await asyncio.gather(self._call("join"), self._call("join")))[0]
        await self._call("join")
        await asyncio.sleep(random.uniform(0.1, 2.0))
        return await self._call("join")  # another tab

    async def _change_mind(self, place: Call) -> Call:
        """Leave, and regret it. Too late once it is one's turn: then the ticket comes."""
        if not self._traits.leaves or place.status != "waiting":
            return place
        await asyncio.sleep(random.uniform(*self._traits.habits.leave_after_s))
        place = await self._call("leave")
        if place.status != "left" or not self._traits.regrets:
            return place
        await asyncio.sleep(random.uniform(*self._traits.habits.away_s))
        return await self._join()

    # ---- waiting

    async def _wait_for_the_end(self, place: Call) -> None:
        self.history.at_the_door = place.status == "sold_out" and place.sequence is None
        while place.status not in ENDS and not (place.what == "leave" and place.status == "left"):
            await self._pause(self._next_look_s(place))
            place = await self._call("position")
            if place.status in ("none", "left"):  # the verdict will say so; a person would queue up again
                place = await self._join()
        self.history.end, self.history.ended_at = place.status, time.monotonic()

    def _next_look_s(self, place: Call) -> float:
        habits = self._traits.habits
        if place.status != "waiting":  # any moment now; or Kafka is away, and then it is not for me to hurry
            self._soon_s = min(self._soon_s * 1.5, habits.soon_max_s)
            return self._soon_s * random.uniform(0.8, 1.2)
        self._soon_s = habits.soon_s
        wait_s = self._estimated_s if self._estimated_s is not None else habits.look_max_s / 3
        longest = habits.look_listening_s if self._traits.listens else habits.look_max_s
        return max(habits.look_min_s, min(longest, wait_s * LOOK_PER_WAIT)) * random.uniform(0.8, 1.2)

    async def _pause(self, seconds: float) -> None:
        """Until it is time to look, or until the site calls."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()
        if self._news.is_set():
            self._news.clear()
            await asyncio.sleep(random.uniform(0.0, 0.1))

    # ---- being told

    async def _see_that_one_was_told(self) -> None:
        """Who found it sold out on coming was told by that answer; everybody else by a notification."""
        pause_s = INBOX_FIRST_S
        while not self.history.at_the_door and not self._was_told():
            if self._traits.listens:
                await self._news.wait()
                self._news.clear()
            elif not await self._read_inbox():
                await asyncio.sleep(pause_s * random.uniform(0.8, 1.2))
                pause_s = min(pause_s * 2, INBOX_MAX_S)

    def _was_told(self) -> bool:
        if self.history.end in ENDED_WITH_TICKET:
            return any(told.kind == "ticket:issued" for told in self.history.told)
        return any(told.kind == f"queue:{self.history.end}" for told in self.history.told)

    async def _read_inbox(self) -> bool:
        """True where something was new; it is acknowledged."""
        answer = await self._site.get("/notifications", self._token)
        for note in answer.body["notifications"]:
            self._hear(note["payload"], via="inbox")
            if note["seenAt"] is None:
                await self._site.post(f"/notifications/{note['id']}/seen", None, self._token)
        return bool(answer.body["notifications"])

    def _listen(self) -> list[asyncio.Task[None]]:
        self._listener = self._connect(self._token, lambda payload: self._hear(payload, via="socket"))
        duties = [self._listener.run()]
        if self._traits.reconnects:
            duties.append(self._lose_the_network(self._listener))
        return [asyncio.create_task(duty) for duty in duties]

    async def _lose_the_network(self, listener: Listener) -> None:
        while True:
            await asyncio.sleep(random.uniform(*self._traits.habits.reconnect_s))
            await listener.drop(random.uniform(0.2, 3.0))

    def _hear(self, payload: dict[str, Any], via: str) -> None:
        data = payload.get("data") or {}
        self.history.told.append(
            Told(
                id=str(payload.get("id", "")),
                kind=str(payload.get("kind", "")),
                at=time.monotonic(),
                via=via,
                ticket_id=payload.get("ticketId"),
                event_id=payload.get("eventId") or data.get("eventId"),
            )
        )
        self._news.set()

    # ---- asking

    async def _call(self, what: str) -> Call:
        """Ask, and write down what is known of it even where no answer ever comes."""
        call = Call(what, time.monotonic())
        self.history.calls.append(call)
        if what == "position":
            answer = await self._site.get(f"/queue/position?eventId={self._event_id}", self._token)
        else:
            answer = await self._site.post(f"/queue/{what}", self._order(what), self._token)
        self._note(call, answer)
        return call

    def _order(self, what: str) -> dict[str, str]:
        """Who joins shows the place that it had: should the line have lost it, it comes back."""
        shown = what == "join" and self._place_token is not None
        return {"eventId": self._event_id} | ({"placeToken": self._place_token or ""} if shown else {})

    def _note(self, call: Call, answer: Answer) -> None:
        body = answer.body
        call.invoked_at, call.answered_at, call.unknowns = answer.invoked_at, answer.answered_at, answer.unknowns
        call.status, call.sequence, call.position = body["status"], body["sequence"], body["position"]
        call.ticket_id, call.recovering = body.get("ticketId"), bool(body.get("recovering"))
        self._estimated_s = body["estimatedWaitSeconds"]
        if call.status == "left":
            self._place_token = None
        elif body["placeToken"] is not None:
            self._place_token = body["placeToken"]
