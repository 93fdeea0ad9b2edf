"""What the hot requests promise, by both ways in: through the application and through the hot lane."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs

from fairgate.domain.place import Place, Status
from fairgate.errors import StaleGeneration
from tests.support.edge import ALLOWED, SERVICE, Edge, config, edge, queue_of, request, services


@pytest.fixture(params=[False, True], ids=["application", "hot lane"])
async def way(request: pytest.FixtureRequest) -> AsyncIterator[Edge]:
    async with edge(services(), hot_lane=request.param) as way:
        yield way


async def test_a_join_answers_exactly_the_documented_fields(way: Edge) -> None:
    guest = await way.guest()
    reply = await way.ask("POST", "/queue/join", {"eventId": "ev"}, token=guest["token"])
    assert reply.status == 200
    place_token = reply.json["placeToken"]
    assert reply.json == {
        "eventId": "ev",
        "userId": guest["userId"],
        "status": "waiting",
        "position": 1,
        "sequence": 1099511627777,
        "size": 1,
        "estimatedWaitSeconds": 1,
        "placeToken": place_token,
    }
    assert queue_of(way).signer.sequence(place_token, "ev", guest["userId"]) == 1099511627777


@pytest.mark.parametrize("body", [None, b"{}", b'{"eventId":null}', b'{"eventId":"lobby"}'])
async def test_without_an_event_the_line_is_the_lobby(way: Edge, body: bytes | None) -> None:
    guest = await way.guest()
    reply = await way.ask("POST", "/queue/join", body, token=guest["token"])
    assert (reply.status, reply.json["eventId"]) == (200, "lobby")


async def test_joining_again_keeps_the_place(way: Edge) -> None:
    guest = await way.guest()
    first = await way.ask("POST", "/queue/join", {"eventId": "ev"}, token=guest["token"])
    await way.ask("POST", "/queue/join", {"eventId": "ev"}, token=(await way.guest())["token"])
    again = await way.ask("POST", "/queue/join", {"eventId": "ev"}, token=guest["token"])
    assert again.json["sequence"] == first.json["sequence"]


async def test_who_has_a_ticket_is_told_its_id(way: Edge) -> None:
    guest = await way.guest()
    queue_of(way).outcomes["ev", guest["userId"]] = Place(Status.ISSUED, 7, None, 3, "t-1")
    reply = await way.ask("GET", "/queue/position?eventId=ev", token=guest["token"])
    assert reply.json["ticketId"] == "t-1"
    assert reply.json["status"] == "issued"
    assert reply.json["placeToken"] is None


async def test_a_body_that_names_somebody_else_is_refused_and_changes_nothing(way: Edge) -> None:
    guest = await way.guest()
    reply = await way.ask("POST", "/queue/join", {"userId": "victim", "eventId": "ev"}, token=guest["token"])
    assert (reply.status, reply.json["type"]) == (403, "urn:fairgate:problem:not-yours")
    assert queue_of(way).waiting["ev"] == []


async def test_a_body_may_name_the_sessions_own_user(way: Edge) -> None:
    guest = await way.guest()
    reply = await way.ask("POST", "/queue/join", {"userId": guest["userId"]}, token=guest["token"])
    assert reply.status == 200


async def test_a_service_joins_for_the_user_that_it_names(way: Edge) -> None:
    reply = await way.ask("POST", "/queue/join", {"userId": "u-1", "eventId": "ev"}, token=SERVICE)
    assert (reply.status, reply.json["userId"]) == (200, "u-1")
    reply = await way.ask("GET", "/queue/position?eventId=ev&userId=u-1", token=SERVICE)
    assert (reply.status, reply.json["position"]) == (200, 1)


async def test_a_service_that_names_nobody_is_refused(way: Edge) -> None:
    reply = await way.ask("POST", "/queue/join", {"eventId": "ev"}, token=SERVICE)
    assert (reply.status, reply.json["type"]) == (400, "urn:fairgate:problem:invalid-request")


async def test_a_cookie_is_a_session_too(way: Edge) -> None:
    made = await way.ask("POST", "/users/sessions")
    cookie = made.headers["set-cookie"].partition(";")[0]
    reply = await way.ask("GET", "/queue/position", headers={"cookie": cookie})
    assert (reply.status, reply.json["userId"]) == (200, made.json["userId"])
    assert "HttpOnly" in made.headers["set-cookie"]
    assert "SameSite=Lax" in made.headers["set-cookie"]


@pytest.mark.parametrize("origin", [None, "https://evil.example", "null", "http://fairgate.test.evil.example"])
async def test_a_cookie_from_another_site_changes_nothing(way: Edge, origin: str | None) -> None:
    cookie = (await way.ask("POST", "/users/sessions")).headers["set-cookie"].partition(";")[0]
    headers = {"cookie": cookie} | ({"origin": origin} if origin else {})
    reply = await way.ask("POST", "/queue/join", {"eventId": "ev"}, headers)
    assert (reply.status, reply.json["type"]) == (403, "urn:fairgate:problem:origin-refused")
    assert queue_of(way).waiting["ev"] == []


@pytest.mark.parametrize("origin", ["http://fairgate.test", "https://fairgate.test", ALLOWED])
async def test_a_cookie_with_an_allowed_origin_joins(way: Edge, origin: str) -> None:
    cookie = (await way.ask("POST", "/users/sessions")).headers["set-cookie"].partition(";")[0]
    reply = await way.ask("POST", "/queue/join", {"eventId": "ev"}, {"cookie": cookie, "origin": origin})
    assert reply.status == 200
    assert reply.headers.get("access-control-allow-origin") == (ALLOWED if origin == ALLOWED else None)


async def test_a_cookie_with_a_form_is_refused(way: Edge) -> None:
    cookie = (await way.ask("POST", "/users/sessions")).headers["set-cookie"].partition(";")[0]
    headers = {"cookie": cookie, "origin": "http://fairgate.test", "content-type": "text/plain"}
    reply = await way.ask("POST", "/queue/join", b"{}", headers)
    assert reply.status == 415


async def test_an_answer_may_be_retried_when_the_line_is_being_prepared(way: Edge) -> None:
    guest = await way.guest()
    queue_of(way).fails = StaleGeneration()
    reply = await way.ask("POST", "/queue/join", {}, {"accept-language": "ko-KR,ko;q=0.9,en;q=0.8"}, guest["token"])
    assert reply.status == 503
    assert reply.headers["retry-after"] == "1"
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.json["retryAfterMs"] == 1000
    assert reply.json["title"].startswith("대기열을 준비")


async def test_a_bug_shows_no_stack_and_leaves_the_connection_usable(way: Edge) -> None:
    guest = await way.guest()
    queue_of(way).fails = ZeroDivisionError("secret inside")
    wire = await way.wire()
    head = {"authorization": f"Bearer {guest['token']}"}
    with capture_logs() as logged:
        wire.send(request("POST", "/queue/join", b"{}", head))
        reply = await wire.reply()
    assert (reply.status, b"secret" in reply.body) == (500, False)
    assert [isinstance(entry["exc_info"], ZeroDivisionError) for entry in logged] == [True]
    queue_of(way).fails = None
    wire.send(request("POST", "/queue/join", b"{}", head))
    assert (await wire.reply()).status == 200


async def test_guests_are_limited_by_address_and_told_when_to_come_back() -> None:
    for hot_lane in (False, True):
        async with edge(services(config=config(guest_rate_per_minute=2)), hot_lane=hot_lane) as way:
            statuses = [(await way.ask("POST", "/users/sessions")).status for _ in range(3)]
            assert statuses == [201, 201, 429]
            reply = await way.ask("POST", "/users/sessions", headers={"x-forwarded-for": "9.9.9.9"})
            assert reply.status == 429
            assert 0 < int(reply.headers["retry-after"]) <= 32


async def test_behind_a_trusted_proxy_the_limit_is_the_clients() -> None:
    settings = config(guest_rate_per_minute=1, trusted_proxies=("127.0.0.0/8", "10.0.0.0/8"))
    for hot_lane in (False, True):
        async with edge(services(config=settings), hot_lane=hot_lane) as way:
            for address, status in [("1.1.1.1, 10.0.0.7", 201), ("8.8.8.8, 1.1.1.1, 10.0.0.7", 429), ("2.2.2.2", 201)]:
                reply = await way.ask("POST", "/users/sessions", headers={"x-forwarded-for": address})
                assert reply.status == status, address


async def test_only_a_service_names_the_user_of_a_new_session(way: Edge) -> None:
    assert (await way.ask("POST", "/users/sessions", {"userId": "u"})).status == 403
    assert (await way.ask("POST", "/users/sessions", {"userId": "u"}, token="not the credential")).status == 401
    reply = await way.ask("POST", "/users/sessions", {"userId": "u"}, token=SERVICE)
    assert (reply.status, reply.json["userId"]) == (201, "u")


async def test_a_session_is_over_after_logging_out(way: Edge) -> None:
    token = (await way.guest())["token"]
    assert (await way.ask("DELETE", "/users/sessions/current", token=token)).status == 204
    assert (await way.ask("POST", "/queue/join", {}, token=token)).status == 401
