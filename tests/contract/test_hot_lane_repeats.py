"""A head that was read once is known: the next that differs by its token only is answered as if it were read."""

from __future__ import annotations

import asyncio
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairgate.http.connection import Connection
from fairgate.http.plain import POSITION, Plain, known
from tests.support.edge import Edge, comparable, edge, request, services

FORGED = "s1.Zm9yZ2Vk.bm9ib2R5"
TOKEN = "s1.eyJh-_.bWFj"
SIGNS = re.compile(rb"s1\.[A-Za-z0-9._-]{0,502}")


def read_of(token: str) -> bytes:
    return request("GET", "/queue/position?eventId=ev", headers={"authorization": f"Bearer {token}", "accept": "*/*"})


def of_token(token: str) -> Plain:
    return Plain(POSITION, b"", None, b"", "ev", token)


@given(st.binary(max_size=40) | st.from_regex(SIGNS, fullmatch=True))
def test_only_what_can_be_a_token_is_read(token: bytes) -> None:
    one = known(read_of(TOKEN), of_token(TOKEN))
    assert one is not None
    read = one.read(one.before + token + one.after)
    assert read == (of_token(token.decode()) if SIGNS.fullmatch(token) else None)


@pytest.mark.parametrize(
    "data",
    [
        read_of(TOKEN).replace(b"accept", b"Accept"),
        read_of(TOKEN).replace(b"=ev", b"=ew"),
        read_of(TOKEN)[:-1],
        read_of(TOKEN)[1:],
        read_of(TOKEN) + b"\r\n",
        read_of(TOKEN) * 2,
        read_of("x"),
        read_of("s1.a\r\nx-forwarded-for: 1.2.3.4"),
        read_of(f"{TOKEN} {TOKEN}"),
        read_of("s1." + "x" * 600),
        b"",
    ],
)
def test_what_differs_elsewhere_is_not_known(data: bytes) -> None:
    one = known(read_of("s1.a.b"), of_token("s1.a.b"))
    assert one is not None
    assert one.read(read_of(TOKEN)) == of_token(TOKEN)
    assert one.read(data) is None


@pytest.mark.parametrize("token", ["x", "s1.", "s1.e"])
def test_a_token_that_stands_there_twice_or_is_none_is_not_learnt(token: str) -> None:
    data = request("GET", f"/queue/position?eventId={token}", headers={"authorization": f"Bearer {token}"})
    assert known(data, of_token(token)) is None


def test_a_long_head_is_not_learnt() -> None:
    head = {"authorization": f"Bearer {TOKEN}", "cookie": "x=" + "y" * 3_000}
    assert known(request("GET", "/queue/position?eventId=ev", headers=head), of_token(TOKEN)) is None


async def test_a_repeat_needs_no_parser_whoever_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[bytes] = []
    feed = Connection.data_received
    monkeypatch.setattr(Connection, "data_received", lambda self, data: (parsed.append(data), feed(self, data)))
    async with edge(services(), hot_lane=True) as way:
        tokens = [(await way.guest())["token"] for _ in range(3)]
        wire = await way.wire()
        users = []
        for token in [*tokens, FORGED, *tokens]:
            wire.send(read_of(token))
            users.append((await wire.reply()).json.get("userId"))
        wire.send(request("GET", "/healthz"))
        assert (await wire.reply()).status == 200
        wire.close()
    assert users[:3] == users[4:]
    assert users[3] is None
    assert len(set(users)) == 4
    assert [data for data in parsed if b"/queue/position" in data] == [read_of(tokens[0])]


def test_any_sequence_on_one_connection_is_answered_alike() -> None:
    """Alone, several in a packet, one in two packets: on one connection, by both ways in."""
    with asyncio.Runner() as runner:
        shared = services()
        opened = [edge(shared, hot_lane=False), edge(shared, hot_lane=True)]
        ways = [runner.run(each.__aenter__()) for each in opened]
        tokens = [runner.run(ways[0].guest())["token"] for _ in range(2)]
        heads = [{"authorization": f"Bearer {token}"} for token in [*tokens, FORGED, TOKEN]]
        heads += [{"cookie": f"a=b; fairgate_session={tokens[0]}"}, {}, heads[0] | {"accept-language": "ko"}]
        paths = ["/queue/position?eventId=ev", "/queue/position", "/queue/position?eventId=nope", "/queue/ev"]
        one = st.builds(
            lambda path, head: request("GET", path, headers=head), st.sampled_from(paths), st.sampled_from(heads)
        ) | st.just(request("POST", "/queue/join", b'{"eventId":"ev"}', heads[0]))
        packets = st.lists(
            st.tuples(st.lists(one, min_size=1, max_size=3), st.integers(0, 400)), min_size=2, max_size=8
        )

        @given(packets)
        @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
        def alike(sent: list[tuple[list[bytes], int]]) -> None:
            replies = [runner.run(_replies(way, sent)) for way in ways]
            assert replies[0] == replies[1]

        alike()
        for each in opened:
            runner.run(each.__aexit__(None, None, None))


async def _replies(way: Edge, sent: list[tuple[list[bytes], int]]) -> list[object]:
    wire = await way.wire()
    replies: list[object] = []
    for requests, cut in sent:
        data = b"".join(requests)
        for part in (data[:cut], data[cut:]) if cut else (data,):
            wire.send(part)
            await asyncio.sleep(0.001)
        replies += [comparable(await wire.reply()) for _ in requests]
    wire.close()
    return replies
