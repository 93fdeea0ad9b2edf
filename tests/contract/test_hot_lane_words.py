"""The hot lane and the application answer the same words: each request is sent to both and compared."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairgate.http import hot
from tests.support.edge import ALLOWED, Edge, comparable, edge, request, services

BODIES: list[bytes | None] = [
    None,
    b"",
    b"{}",
    b"null",
    b"[]",
    b'"x"',
    b"{",
    b'{"eventId":"ev"}',
    b'{"eventId":"ev","eventId":"lobby"}',
    b'{"eventId":"shut"}',
    b'{"eventId":"nope"}',
    b'{"eventId":"join"}',
    b'{"eventId":"a b"}',
    b'{"eventId":"ev\\n"}',
    b'{"eventId":"\\u0000"}',
    b'{"eventId":"\\ud800"}',
    b'{"eventId":"\xff"}',
    b'{"eventId":1}',
    b'{"eventId":""}',
    b'{"userId":"somebody"}',
    b'{"userId":"some body"}',
    b'{"score":1}',
    b'{"position":1,"sequence":0,"timestamp":1}',
    b"[" * 3_000,
    b" {} ",
    b"\xef\xbb\xbf{}",
    b'{"eventId":NaN}',
]
PATHS = [
    "/queue/position",
    "/queue/position?",
    "/queue/position?eventId=ev",
    "/queue/position?eventId=nope",
    "/queue/position?eventId=join",
    "/queue/position?eventId=a%20b",
    "/queue/position?eventId=%65v",
    "/queue/position?eventId=ev&eventId=lobby",
    "/queue/position?eventId=ev&x=1",
    "/queue/position?eventId=",
    "/queue/position?userId=somebody",
    "/queue/position/",
    "/queue/positionx",
    "/queue/join",
    "//queue/join",
]
HEADS: list[dict[str, str]] = [
    {},
    {"authorization": ""},
    {"authorization": "Bearer s1.x.y"},
    {"authorization": "Bearer "},
    {"authorization": "Basic eDp5"},
    {"authorization": "Bearer " + "x" * 600},
    {"origin": ALLOWED},
    {"origin": "https://evil.example"},
    {"origin": "http://fairgate.test"},
    {"content-type": "application/json; charset=utf-8"},
    {"content-type": "application/x-www-form-urlencoded"},
    {"content-type": "application/json; charset=latin-1"},
    {"accept-language": "ko"},
    {"x-user-id": "victim", "x-http-method-override": "DELETE"},
]


async def both(one: Edge, other: Edge, data: bytes) -> None:
    replies = []
    for way in (one, other):
        wire = await way.wire()
        wire.send(data)
        replies.append(comparable(await wire.reply()))
        wire.close()
    assert replies[0] == replies[1], data


@pytest.fixture
async def two_ways() -> AsyncIterator[tuple[Edge, Edge]]:
    """Two servers in front of the same services."""
    shared = services()
    async with edge(shared, hot_lane=False) as one, edge(shared, hot_lane=True) as other:
        yield one, other


@pytest.mark.parametrize("head", HEADS, ids=lambda head: json.dumps(head)[:40])
async def test_both_ways_answer_the_same_words(two_ways: tuple[Edge, Edge], head: dict[str, str]) -> None:
    token = (await two_ways[0].guest())["token"]
    named = {"authorization": f"Bearer {token}"} | head
    for body in BODIES:
        await both(*two_ways, request("POST", "/queue/join", body, named))
    for path in PATHS:
        await both(*two_ways, request("GET", path, headers=named))
    for body in (b"[]", b'{"userId":"x"}', b'{"x":1}'):
        await both(*two_ways, request("POST", "/users/sessions", body, named))


async def test_both_ways_answer_the_same_words_to_a_cookie(two_ways: tuple[Edge, Edge]) -> None:
    token = (await two_ways[0].guest())["token"]
    for cookie in (f"fairgate_session={token}", f"a=b; fairgate_session={token}; c=d", "fairgate_session=", "x"):
        for origin in ("", "http://fairgate.test", "https://evil.example"):
            head = {"cookie": cookie, "origin": origin}
            await both(*two_ways, request("POST", "/queue/join", b"{}", head))
            await both(*two_ways, request("POST", "/queue/join", None, head))
            await both(*two_ways, request("GET", "/queue/position", headers=head))


def test_any_body_is_answered_alike() -> None:
    """Hypothesis on its own loop: one pair of servers for all examples."""
    texts = st.one_of(
        st.binary(max_size=60),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["ev", "lobby", "shut"]),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from(["eventId", "userId", "x"]), inner, max_size=3)
            ),
            max_leaves=5,
        ).map(lambda value: json.dumps(value).encode()),
    )
    with asyncio.Runner() as runner:
        shared = services()
        opened = [edge(shared, hot_lane=False), edge(shared, hot_lane=True)]
        ways = [runner.run(each.__aenter__()) for each in opened]
        token = runner.run(ways[0].guest())["token"]

        @given(texts)
        @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
        def alike(body: bytes) -> None:
            data = request("POST", "/queue/join", body, {"authorization": f"Bearer {token}"})
            runner.run(both(ways[0], ways[1], data))

        alike()
        for each in opened:
            runner.run(each.__aexit__(None, None, None))


async def test_the_hot_lane_is_really_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[str] = []
    begin = hot.HotConnection._begin
    monkeypatch.setattr(
        hot.HotConnection, "_begin", lambda self, asked, **how: (taken.append(asked.kind), begin(self, asked, **how))
    )
    async with edge(services(), hot_lane=True) as way:
        token = (await way.guest())["token"]
        await way.ask("POST", "/queue/join", {"eventId": "ev"}, token=token)
        await way.ask("GET", "/queue/position?eventId=ev", token=token)
        await way.ask("GET", "/queue/ev")
    assert taken == ["/users/sessions", "/queue/join", "/queue/position"]
