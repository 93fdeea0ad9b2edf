"""Keep-alive, pipelining and closing are right by both ways in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.support.edge import Edge, Reply, Wire, edge, queue_of, request, services


@pytest.fixture(params=[False, True], ids=["application", "hot lane"])
async def way(request: pytest.FixtureRequest) -> AsyncIterator[Edge]:
    async with edge(services(), hot_lane=request.param) as way:
        yield way


async def pipelined(way: Edge, *requests: bytes) -> tuple[Wire, list[Reply]]:
    wire = await way.wire()
    wire.send(b"".join(requests))
    return wire, [await wire.reply() for _ in requests]


async def test_pipelined_requests_are_answered_in_their_order(way: Edge) -> None:
    head = {"authorization": f"Bearer {(await way.guest())['token']}"}
    paths = ["/queue/position?eventId=ev", "/healthz", "/queue/position", "/queue/position?eventId=nope", "/queue/ev"]
    wire, replies = await pipelined(way, *(request("GET", path, headers=head) for path in paths))
    assert [reply.status for reply in replies] == [200, 200, 200, 404, 200]
    assert [reply.json.get("eventId") for reply in replies] == ["ev", None, "lobby", None, "ev"]
    wire.close()


async def test_what_is_pipelined_behind_a_slow_answer_waits_for_it(way: Edge) -> None:
    head = {"authorization": f"Bearer {(await way.guest())['token']}"}
    queue = queue_of(way)
    queue.held = True
    wire = await way.wire()
    wire.send(request("POST", "/queue/join", b"{}", head) + request("GET", "/healthz"))
    await asyncio.wait_for(queue.asked.wait(), 5)
    assert (await way.ask("GET", "/healthz")).status == 200  # others go on
    queue.held = False
    queue.answer_now()
    assert (await wire.reply()).json["status"] == "waiting"
    assert (await wire.reply()).json == {"status": "ok"}


async def test_a_request_may_come_a_byte_at_a_time(way: Edge) -> None:
    head = {"authorization": f"Bearer {(await way.guest())['token']}"}
    wire = await way.wire()
    for byte in request("POST", "/queue/join", b'{"eventId":"ev"}', head):
        wire.send(bytes([byte]))
        await wire.writer.drain()
    assert (await wire.reply()).json["position"] == 1


async def test_a_chunked_body_is_read_like_any_other(way: Edge) -> None:
    token = (await way.guest())["token"]
    head = {"authorization": f"Bearer {token}", "transfer-encoding": "chunked", "content-type": "application/json"}
    wire = await way.wire()
    wire.send(request("POST", "/queue/join", headers=head) + b'8\r\n{"eventI\r\n8\r\nd":"ev"}\r\n0\r\n\r\n')
    assert (await wire.reply()).json["eventId"] == "ev"


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_large_body_is_refused_and_the_connection_closed(way: Edge, chunked: bool) -> None:
    token = (await way.guest())["token"]
    wire = await way.wire()
    body = b'{"eventId":"' + b"x" * 5_000 + b'"}'
    if chunked:
        head = {"authorization": f"Bearer {token}", "transfer-encoding": "chunked", "content-type": "application/json"}
        wire.send(request("POST", "/queue/join", headers=head) + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))
    else:
        wire.send(request("POST", "/queue/join", body, {"authorization": f"Bearer {token}"}))
    reply = await wire.reply()
    assert (reply.status, reply.json["type"]) == (413, "urn:fairgate:problem:too-large")
    assert await wire.ended()


async def test_a_client_that_asks_for_it_gets_its_connection_closed(way: Edge) -> None:
    head = {"authorization": f"Bearer {(await way.guest())['token']}", "connection": "close"}
    wire = await way.wire()
    wire.send(request("POST", "/queue/join", b"{}", head))
    reply = await wire.reply()
    assert (reply.status, reply.headers["connection"]) == (200, "close")
    assert await wire.ended()


async def test_http_1_0_is_answered_and_closed(way: Edge) -> None:
    head = {"authorization": f"Bearer {(await way.guest())['token']}"}
    wire = await way.wire()
    wire.send(request("POST", "/queue/join", b"{}", head, version="1.0"))
    assert (await wire.reply()).status == 200
    assert await wire.ended()


async def test_expect_continue_is_answered_before_the_body(way: Edge) -> None:
    head = {"authorization": f"Bearer {(await way.guest())['token']}", "expect": "100-continue"}
    wire = await way.wire()
    wire.send(request("POST", "/queue/join", b"{}", head)[:-2])
    assert (await asyncio.wait_for(wire.reader.readuntil(b"\r\n\r\n"), 5)).startswith(b"HTTP/1.1 100")
    wire.send(b"{}")
    assert (await wire.reply()).status == 200


async def test_an_offer_to_upgrade_is_answered_as_a_plain_request(way: Edge) -> None:
    head = {"authorization": f"Bearer {(await way.guest())['token']}", "connection": "upgrade", "upgrade": "h2c"}
    wire = await way.wire()
    wire.send(request("GET", "/queue/position", headers=head))
    assert (await wire.reply()).status == 200


async def test_a_client_that_goes_away_while_it_waits_hurts_nobody(way: Edge) -> None:
    head = {"authorization": f"Bearer {(await way.guest())['token']}"}
    queue = queue_of(way)
    queue.held = True
    wire = await way.wire()
    wire.send(request("POST", "/queue/join", b"{}", head))
    await asyncio.wait_for(queue.asked.wait(), 5)
    wire.writer.transport.abort()
    queue.held = False
    assert (await way.ask("GET", "/healthz")).status == 200
    queue.answer_now()
    assert (await way.ask("GET", "/healthz")).status == 200


async def test_stopping_lets_a_request_in_hand_finish() -> None:
    for hot_lane in (False, True):
        async with edge(services(), hot_lane=hot_lane) as way:
            head = {"authorization": f"Bearer {(await way.guest())['token']}"}
            queue = queue_of(way)
            queue.held = True
            wire = await way.wire()
            wire.send(request("POST", "/queue/join", b"{}", head))
            await asyncio.wait_for(queue.asked.wait(), 5)
            stopping = asyncio.create_task(way.server.stop())
            asyncio.get_running_loop().call_later(0.2, queue.answer_now)
            reply = await wire.reply()
            assert (reply.status, reply.headers["connection"]) == (200, "close")
            await stopping
