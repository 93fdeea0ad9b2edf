"""What holds for every answer, whatever the route; and the bounds of a connection."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

import pytest

from fairgate.http.app import create_app
from tests.support.edge import ALLOWED, OPERATOR, SERVICE, Edge, config, edge, services


@pytest.fixture
async def way() -> AsyncIterator[Edge]:
    async with edge(services(), hot_lane=True) as way:
        yield way


# ---- every answer


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/queue/lobby", 200),
        ("GET", "/nowhere", 404),
        ("GET", "/queue/join", 405),
        ("DELETE", "/queue/position", 405),
        ("POST", "/queue/join", 401),
        ("GET", "/users/me", 401),
        ("GET", "/admin/events", 401),
        ("GET", "/metrics", 401),
        ("POST", "/tickets/issue", 401),
        ("GET", "/tickets/not-a-uuid", 401),
        ("GET", "/queue/" + "x" * 65, 400),
        ("GET", "/queue/a%0Ab", 400),
        ("GET", "/docs", 200),
    ],
)
async def test_every_answer_is_typed_and_locked_down(way: Edge, method: str, path: str, status: int) -> None:
    reply = await way.ask(method, path)
    assert reply.status == status
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert "frame-ancestors 'none'" in reply.headers["content-security-policy"]
    assert "server" not in reply.headers
    if status >= 400:
        assert reply.headers["content-type"] == "application/problem+json"
        assert reply.headers["cache-control"] == "no-store"
        assert reply.json["status"] == status
        assert b"Traceback" not in reply.body


async def test_a_wrong_method_is_told_the_right_ones(way: Edge) -> None:
    assert (await way.ask("DELETE", "/queue/join")).headers["allow"] == "POST"
    assert (await way.ask("GET", "/queue/leave")).headers["allow"] == "POST"
    assert (await way.ask("PUT", "/admin/events/ev", token=OPERATOR)).headers["allow"] == "GET, PATCH"
    assert (await way.ask("POST", "/docs")).headers["allow"] == "GET"


async def test_https_is_kept_where_it_is_public() -> None:
    async with edge(services(config=config(public_url="https://wait.example")), hot_lane=True) as way:
        reply = await way.ask("POST", "/users/sessions")
        assert "strict-transport-security" in reply.headers
        assert reply.headers["set-cookie"].endswith("; Secure")


# ---- the public board


async def test_the_board_is_cacheable_and_says_when_nothing_changed(way: Edge) -> None:
    first = await way.ask("GET", "/queue/ev")
    assert first.headers["cache-control"] == "public, max-age=1"
    assert first.json["steps"] == [[1, 0]]
    again = await way.ask("GET", "/queue/ev", headers={"if-none-match": f'"x", W/{first.headers["etag"]}'})
    assert (again.status, again.body) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    await way.ask("POST", "/queue/join", {"eventId": "ev"}, token=(await way.guest())["token"])
    changed = await way.ask("GET", "/queue/ev", headers={"if-none-match": first.headers["etag"]})
    assert (changed.status, changed.json["size"]) == (200, 1)


async def test_the_board_needs_no_session_and_sets_no_cookie(way: Edge) -> None:
    reply = await way.ask("GET", "/queue/ev")
    assert reply.status == 200
    assert "set-cookie" not in reply.headers


# ---- other origins


async def test_an_allowed_origin_may_ask_first(way: Edge) -> None:
    headers = {"origin": ALLOWED, "access-control-request-method": "POST"}
    reply = await way.ask("OPTIONS", "/queue/join", headers=headers)
    assert reply.status == 204
    assert reply.headers["access-control-allow-origin"] == ALLOWED
    assert "authorization" in reply.headers["access-control-allow-headers"]


async def test_any_other_origin_is_told_nothing(way: Edge) -> None:
    headers = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    reply = await way.ask("OPTIONS", "/queue/join", headers=headers)
    assert reply.status == 405
    for path in ("/queue/join", "/queue/ev", "/queue/position"):
        reply = await way.ask("GET", path, headers={"origin": "https://evil.example"})
        assert not any(name.startswith("access-control") for name in reply.headers)


# ---- who may do what: every route, every kind of caller

PUBLIC = {
    ("POST", "/users/sessions"),
    ("GET", "/queue/{eventId}"),
    ("GET", "/healthz"),
    ("GET", "/readyz"),
}
BY_SERVICE = {("POST", "/tickets/issue")}


def routes() -> list[tuple[str, str]]:
    paths: dict[str, dict[str, Any]] = create_app(services()).openapi()["paths"]
    return [(method.upper(), path) for path, operations in paths.items() for method in operations]


def for_operators(path: str) -> bool:
    return path.startswith("/admin") or path == "/metrics"


@pytest.mark.parametrize(("method", "path"), routes())
async def test_no_route_is_open_to_the_wrong_caller(way: Edge, method: str, path: str) -> None:
    ticket = "00000000-0000-7000-8000-000000000000"
    concrete = path.replace("{eventId}", "ev").replace("{ticketId}", ticket).replace("{id}", "n-1")
    session = (await way.guest())["token"]
    refused: dict[str, str] = {"no token": "", "forged": session[:-1] + "x", "junk": "junk"}
    if for_operators(path):
        refused |= {"session": session, "service": SERVICE}
    elif (method, path) in BY_SERVICE:
        refused |= {"session": session, "operator": OPERATOR}
    else:
        refused |= {"operator": OPERATOR}
    if (method, path) in PUBLIC:
        return
    for kind, token in refused.items():
        reply = await way.ask(method, concrete, token=token)
        assert reply.status in (401, 403), (kind, reply)


async def test_identity_never_comes_from_a_header(way: Edge) -> None:
    guest = await way.guest()
    for name in ("x-user-id", "x-forwarded-user", "user-id", "x-auth-user"):
        reply = await way.ask("GET", "/users/me", headers={name: "victim"}, token=guest["token"])
        assert reply.json["userId"] == guest["userId"]


async def test_a_user_changes_only_their_own_words(way: Edge) -> None:
    guest = await way.guest()
    said = {"locale": "ko", "email": "me@example.com", "preferences": {"email": False, "push": True}}
    reply = await way.ask("PUT", "/users/me", said, token=guest["token"])
    assert reply.json == said | {"userId": guest["userId"]}
    assert (await way.ask("PUT", "/users/me", said | {"userId": "victim"}, token=guest["token"])).status == 400
    assert (await way.ask("GET", "/users/me", token=(await way.guest())["token"])).json["locale"] == "en"


# ---- the description


async def test_the_description_page_loads_nothing_from_elsewhere(way: Edge) -> None:
    page = await way.ask("GET", "/docs")
    links = re.findall(r'(?:src|href)="([^"]+)"', page.body.decode())
    assert links
    for link in links:
        assert link.startswith("/")
        assert (await way.ask("GET", link)).status == 200
    assert b"<script>" not in page.body  # the policy lets no inline script run
    assert "script-src 'self';" in page.headers["content-security-policy"]


async def test_the_description_offers_to_authorize(way: Edge) -> None:
    schemes = (await way.ask("GET", "/openapi.json")).json["components"]["securitySchemes"]
    assert schemes["session"] == {"type": "http", "scheme": "bearer", "description": "A user's session token"}


async def test_the_printed_examples_run(way: Edge) -> None:
    schemas = (await way.ask("GET", "/openapi.json")).json["components"]["schemas"]
    token = (await way.guest())["token"]
    for name, method, path in [
        ("JoinRequest", "POST", "/queue/join"),
        ("LeaveRequest", "POST", "/queue/leave"),
        ("SessionRequest", "POST", "/users/sessions"),
        ("MeRequest", "PUT", "/users/me"),
    ]:
        for example in schemas[name]["examples"]:
            reply = await way.ask(method, path, example, token=token)
            assert reply.status in (200, 201), (name, reply)
