"""From the join to the ticket over HTTP, and what goes wrong on the way, as a client sees it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.acceptance.conftest import Whole


class Fan:
    """One user with a session."""

    def __init__(self, http: aiohttp.ClientSession, url: str, session: dict[str, Any]) -> None:
        self.http, self.url, self.user_id = http, url, session["userId"]
        self.headers = {"authorization": f"Bearer {session['token']}"}

    async def join(self, event_id: str, **body: Any) -> dict[str, Any]:
        async with self.http.post(
            f"{self.url}/queue/join", json={"eventId": event_id, **body}, headers=self.headers
        ) as answer:
            return {"http": answer.status, **await answer.json()}

    async def get(self, path: str) -> dict[str, Any]:
        async with self.http.get(f"{self.url}{path}", headers=self.headers) as answer:
            return {"http": answer.status, **await answer.json()}

    async def until(self, event_id: str, status: str, within_s: float = 30.0) -> dict[str, Any]:
        """Poll as a page does, until the status is there."""
        async with asyncio.timeout(within_s):
            while (place := await self.get(f"/queue/position?eventId={event_id}"))["status"] != status:
                await asyncio.sleep(0.05)
        return place


class Crowd:
    def __init__(self, http: aiohttp.ClientSession, stack: Whole) -> None:
        self.http, self.stack = http, stack

    async def fan(self) -> Fan:
        async with self.http.post(f"{self.stack.api_url}/users/sessions", json={}) as answer:
            assert answer.status == 201
            return Fan(self.http, self.stack.api_url, await answer.json())

    async def event(self, **settings: Any) -> str:
        """An open line that takes joins when this returns."""
        event_id = f"event-{uuid.uuid4().hex[:10]}"
        body = {"eventId": event_id, "rate": 1_000, "state": "open", **settings}
        async with self.http.post(
            f"{self.stack.api_url}/admin/events", json=body, headers=self.stack.operator
        ) as answer:
            assert answer.status == 201, await answer.text()
        async with asyncio.timeout(15):
            while True:
                async with self.http.get(f"{self.stack.api_url}/queue/{event_id}") as answer:
                    if answer.status == 200:
                        return event_id
                await asyncio.sleep(0.05)

    async def act(self, event_id: str, verb: str) -> None:
        async with self.http.post(
            f"{self.stack.api_url}/admin/events/{event_id}/{verb}", json={}, headers=self.stack.operator
        ) as answer:
            assert answer.status == 200, await answer.text()


@pytest.fixture
async def crowd(stack: Whole) -> AsyncIterator[Crowd]:
    async with aiohttp.ClientSession() as http:
        yield Crowd(http, stack)


async def test_a_fan_gets_from_the_join_to_the_ticket_and_is_told(crowd: Crowd) -> None:
    event_id, fan = await crowd.event(capacity=10), await crowd.fan()
    place = await fan.join(event_id)
    assert (place["http"], place["status"], place["position"], place["userId"]) == (200, "waiting", 1, fan.user_id)
    assert place["placeToken"].startswith("p1.")
    final = await fan.until(event_id, "confirmed")
    ticket = await fan.get(f"/tickets/{final['ticketId']}")
    assert (ticket["number"], ticket["eventId"], ticket["status"]) == (1, event_id, "confirmed")
    async with asyncio.timeout(20):
        while not (inbox := await fan.get("/notifications"))["notifications"]:
            await asyncio.sleep(0.05)
    assert [note["payload"]["ticketId"] for note in inbox["notifications"]] == [final["ticketId"]]
    again = await fan.join(event_id)
    assert (again["status"], again["sequence"], again["ticketId"]) == (
        "confirmed",
        place["sequence"],
        final["ticketId"],
    )


async def test_a_thousand_concurrent_joins_of_one_user_give_one_place(crowd: Crowd) -> None:
    event_id, fan = await crowd.event(state="paused"), await crowd.fan()
    places = await asyncio.gather(*(fan.join(event_id) for _ in range(1_000)))
    assert {(place["http"], place["sequence"], place["position"]) for place in places} == {
        (200, places[0]["sequence"], 1)
    }


async def test_two_hundred_concurrent_issues_of_one_user_give_one_ticket(crowd: Crowd) -> None:
    event_id, user_id = await crowd.event(capacity=5), f"user-{uuid.uuid4().hex[:8]}"

    async def issue() -> tuple[int, str]:
        async with crowd.http.post(
            f"{crowd.stack.api_url}/tickets/issue",
            json={"userId": user_id, "eventId": event_id},
            headers=crowd.stack.service,
        ) as answer:
            return answer.status, (await answer.json())["ticketId"]

    answers = await asyncio.gather(*(issue() for _ in range(200)))
    assert len({ticket_id for _, ticket_id in answers}) == 1
    assert sorted(status for status, _ in answers)[-1] == 201


async def test_two_thousand_claims_on_a_hundred_tickets_give_exactly_a_hundred(crowd: Crowd) -> None:
    event_id = await crowd.event(capacity=100)

    async def issue(number: int) -> int:
        async with crowd.http.post(
            f"{crowd.stack.api_url}/tickets/issue",
            json={"userId": f"buyer-{number}", "eventId": event_id},
            headers=crowd.stack.service,
        ) as answer:
            await answer.read()
            return answer.status

    statuses = await asyncio.gather(*(issue(number) for number in range(2_000)))
    assert (statuses.count(201), statuses.count(409)) == (100, 1_900)


async def test_closing_a_line_tells_who_waits_and_refuses_who_comes(crowd: Crowd) -> None:
    event_id, waiter, late = await crowd.event(state="paused"), await crowd.fan(), await crowd.fan()
    await waiter.join(event_id)
    await crowd.act(event_id, "close")
    await waiter.until(event_id, "closed")
    async with asyncio.timeout(30):
        while (refused := await late.join(event_id))["http"] == 200:
            await asyncio.sleep(0.05)
    assert (refused["http"], refused["type"].rsplit(":", 1)[-1]) == (409, "line-not-open")


async def test_wrong_input_gets_a_clear_problem_and_changes_nothing(crowd: Crowd) -> None:
    event_id, fan, other = await crowd.event(state="paused"), await crowd.fan(), await crowd.fan()
    join = f"{crowd.stack.api_url}/queue/join"
    json_type, text_type = ({"content-type": kind, **fan.headers} for kind in ("application/json", "text/plain"))
    foreign = {"eventId": event_id, "userId": other.user_id}
    cases: list[tuple[str, dict[str, Any], int, str]] = [
        ("no session", {"json": {"eventId": event_id}}, 401, "no-session"),
        ("another's id", {"json": foreign, "headers": fan.headers}, 403, "not-yours"),
        ("unknown event", {"json": {"eventId": "nowhere"}, "headers": fan.headers}, 404, "unknown-event"),
        ("bad event id", {"json": {"eventId": "a b"}, "headers": fan.headers}, 400, "invalid-request"),
        ("1 MB body", {"data": b"x" * 1_000_000, "headers": json_type}, 413, "too-large"),
        ("broken JSON", {"data": b'{"eventId":', "headers": json_type}, 400, "invalid-request"),
        ("not JSON", {"data": b"eventId=a", "headers": text_type}, 415, "unsupported-media-type"),
    ]
    for name, request, status, kind in cases:
        async with crowd.http.post(join, **request) as answer:
            problem = await answer.json()
            assert (answer.status, problem["type"].rsplit(":", 1)[-1]) == (status, kind), (name, problem)
            assert answer.content_type == "application/problem+json"
    async with crowd.http.get(join, headers=fan.headers) as answer:
        assert answer.status == 405
        assert "POST" in answer.headers["allow"]
    assert (await fan.get(f"/queue/position?eventId={event_id}"))["status"] == "none"


def fairgate(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fairgate", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PATH": "/usr/bin:/bin", **environment},
    )


def test_a_missing_server_and_a_wrong_password_are_named(stack: Whole, tmp_path: Any) -> None:
    assert stack.config.postgres_dsn is not None
    dsn = stack.config.postgres_dsn.get_secret_value()
    wrong = dsn.replace(dsn.split(":")[2].split("@")[0], "wrong")
    for given in ("postgresql://u:p@127.0.0.1:1/none", wrong):
        done = fairgate("events", "list", "--data-dir", str(tmp_path), FAIRGATE_POSTGRES_DSN=given)
        assert done.returncode == 3, done
        assert done.stderr.startswith("✗ PostgreSQL")
        assert "Traceback" not in done.stderr


def test_a_setting_that_cannot_be_is_named_with_its_variable(tmp_path: Any) -> None:
    done = fairgate("events", "list", "--data-dir", str(tmp_path), FAIRGATE_BROKERS="2")
    assert done.returncode == 2
    assert "FAIRGATE_BROKERS" in done.stderr
