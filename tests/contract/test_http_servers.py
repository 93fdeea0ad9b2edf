"""The bounds of a connection, and what the servers promise whoever starts them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from fairgate.errors import ConfigError
from fairgate.http import connection
from fairgate.http.app import create_app
from fairgate.http.ops import OpsServer
from fairgate.http.server import ApiServer
from tests.support.edge import OPERATOR, Edge, Wire, edge, request, services


@pytest.fixture
async def way() -> AsyncIterator[Edge]:
    async with edge(services(), hot_lane=True) as way:
        yield way


async def late(way: Edge) -> None:
    """The server looks once a second; a test need not wait for it."""
    await way.server.run_once()


async def test_who_sends_a_head_too_slowly_is_cut(way: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fairgate.http.hot.REQUEST_S", 0.0)
    wire = await way.wire()
    wire.send(b"POST /queue/join HTTP/1.1\r\nhost: x\r\n")
    assert (await way.ask("GET", "/healthz")).status == 200
    await late(way)
    assert await _cut(wire)


async def test_who_says_nothing_at_all_is_cut(way: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "REQUEST_S", 0.0)
    wire = await way.wire()
    assert (await way.ask("GET", "/healthz")).status == 200
    monkeypatch.undo()
    await late(way)
    assert await _cut(wire)


async def test_an_idle_connection_is_kept_and_then_closed(way: Edge) -> None:
    wire = await way.wire()
    for _ in range(3):
        wire.send(request("GET", "/healthz"))
        assert (await wire.reply()).status == 200
    (held,) = [c for c in way.server._server.server_state.connections if isinstance(c, connection.Connection)]
    assert 0 < held.deadline - held.loop.time() <= 66
    held.deadline = 0.0
    await late(way)
    assert await _cut(wire)


async def _cut(wire: Wire) -> bool:
    try:
        return await wire.ended()
    except ConnectionError:
        return True


@pytest.mark.parametrize(
    "data",
    [
        b"GET /" + b"x" * 400_000,
        b"GET / HTTP/1.1\r\nhost: x\r\nx: " + b"y" * 400_000,
        b"GET / HTTP/1.1\r\nhost: x\r\n" + b"x: y\r\n" * 60_000,
    ],
    ids=["line", "header", "headers"],
)
async def test_a_head_without_end_is_refused(way: Edge, data: bytes) -> None:
    wire = await way.wire()
    wire.send(data)
    with contextlib.suppress(ConnectionError):  # refused while we were still sending
        assert (await wire.reply()).status == 431
    assert (await way.ask("GET", "/healthz")).status == 200


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"HELLO\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nbad header\r\n\r\n",
        b"POST /queue/join HTTP/1.1\r\ncontent-length: x\r\n\r\n",
        b"POST /queue/join HTTP/1.1\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",
        b"POST /queue/join HTTP/1.1\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n{}",
        b"GET /\xff HTTP/1.1\r\nhost: x\r\n\r\n",
    ],
)
async def test_what_is_not_http_is_told_so_and_the_connection_closed(way: Edge, data: bytes) -> None:
    wire = await way.wire()
    wire.send(data)
    reply = await wire.reply()
    assert 400 <= reply.status < 500
    assert reply.headers["content-type"] == "application/problem+json"
    wire.close()
    assert (await way.ask("GET", "/healthz")).status == 200


async def test_two_cookies_are_one_too_many(way: Edge) -> None:
    token = (await way.guest())["token"]
    wire = await way.wire()
    rows = f"cookie: fairgate_session={token}\r\ncookie: a=b\r\ncontent-length: 0\r\n"
    wire.send(f"POST /queue/join HTTP/1.1\r\nhost: fairgate.test\r\n{rows}\r\n".encode())
    assert (await wire.reply()).status == 400


# ---- servers


async def test_a_taken_port_is_named_with_what_moves_it(way: Edge) -> None:
    port = way.server.port
    second = ApiServer(create_app(services()), host="127.0.0.1", port=port)
    with pytest.raises(ConfigError, match=str(port)) as caught:
        await second.start()
    assert "--port-base" in caught.value.hint
    with pytest.raises(ConfigError, match=str(port)) as caught:
        await OpsServer(host="127.0.0.1", port=port, ready=dict).start()
    assert "FAIRGATE_OPS_PORT" in caught.value.hint


async def test_several_processes_may_share_a_port() -> None:
    servers = [ApiServer(create_app(services()), host="127.0.0.1", port=0, reuse_port=True)]
    await servers[0].start()
    servers.append(ApiServer(create_app(services()), host="127.0.0.1", port=servers[0].port, reuse_port=True))
    await servers[1].start()
    assert servers[0].port == servers[1].port
    for server in servers:
        await server.stop()


async def test_the_ops_server_says_what_is_wrong() -> None:
    checks: dict[str, str | None] = {"valkey": None}
    server = OpsServer(host="127.0.0.1", port=0, ready=lambda: checks)
    await server.start()

    async def ask(head: bytes) -> Any:
        wire = Wire(*await asyncio.open_connection("127.0.0.1", server.port))
        wire.send(head + b" HTTP/1.1\r\nhost: x\r\n\r\n")
        reply = await wire.reply(head_only=head.startswith(b"HEAD"))
        assert await wire.ended()
        return reply

    assert (await ask(b"GET /healthz")).json == {"status": "ok"}
    assert (await ask(b"GET /readyz")).json == {"ready": True, "checks": {"valkey": "ok"}}
    checks["postgres"] = "does not answer"
    reply = await ask(b"GET /readyz?x=1")
    assert (reply.status, reply.json["checks"]["postgres"]) == (503, "does not answer")
    metrics = (await ask(b"GET /metrics")).body.decode()
    assert "fairgate_joins" in {family.name for family in text_string_to_metric_families(metrics)}
    assert (await ask(b"HEAD /metrics")).status == 200
    assert (await ask(b"POST /readyz")).status == 405
    assert (await ask(b"GET /queue/ev")).status == 404
    await server.stop()


async def test_the_public_readiness_names_no_servers() -> None:
    parts = services(ready=lambda: {"valkey": "10.0.0.7 does not answer", "postgres": None})
    async with edge(parts, hot_lane=True) as way:
        reply = await way.ask("GET", "/readyz")
    assert reply.status == 503
    assert reply.json == {"ready": False, "checks": {"valkey": "failing", "postgres": "ok"}}


async def test_metrics_are_the_operators(way: Edge) -> None:
    reply = await way.ask("GET", "/metrics", token=OPERATOR)
    assert reply.status == 200
    assert b"fairgate_http_requests_total" in reply.body
