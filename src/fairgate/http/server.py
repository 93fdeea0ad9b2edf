"""The public server: uvicorn inside a loop that runs already, with the hot lane as its protocol."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any

import uvicorn

from fairgate.http.connection import Connection
from fairgate.http.listening import listening
from fairgate.lifecycle import Service

DRAIN_S = 5
IDLE_S = 65


class ApiServer(Service):
    """Serves `app`. `start` raises `ConfigError` for a taken port; `stop` answers what it has begun, bounded.

    `protocol` is a `Connection` class: `hot.protocol(services)`, or `Connection` itself without a hot lane.
    `websockets` are uvicorn's settings of that name (`ws…`); without them none are served. `reuse_port` lets several
    processes share the port.
    """

    name = "api"
    idle_s = 1.0

    def __init__(
        self,
        app: Any,
        *,
        host: str,
        port: int,
        protocol: type[Connection] = Connection,
        reuse_port: bool = False,
        hint: str = "move the whole stack with --port-base (FAIRGATE_PORT_BASE)",
        **websockets: Any,
    ) -> None:
        super().__init__()
        self._host, self._port, self._reuse_port, self._hint = host, port, reuse_port, hint
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                loop="none",
                http=protocol,
                **{"ws": "none", **websockets},
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=IDLE_S,
                timeout_graceful_shutdown=DRAIN_S,
            )
        )
        self._socket: socket.socket | None = None

    @property
    def port(self) -> int:
        """The real one, also where 0 was asked for."""
        assert self._socket is not None, "not started"
        return int(self._socket.getsockname()[1])

    async def start(self) -> None:
        self._socket = listening(self._host, self._port, hint=self._hint, reuse_port=self._reuse_port)
        config = self._server.config
        config.load()
        self._server.lifespan = config.lifespan_class(config)
        await self._server.on_tick(0)  # sets the Date header
        await self._server.startup(sockets=[self._socket])
        await super().start()

    async def run_once(self) -> bool:
        """Each second: the Date header, and connections that have kept us waiting for too long."""
        await self._server.on_tick(0)
        now = asyncio.get_running_loop().time()
        for connection in list(self._server.server_state.connections):
            if isinstance(connection, Connection):
                connection.close_if_late(now)
        return False

    async def teardown(self) -> None:
        with contextlib.suppress(asyncio.CancelledError, TimeoutError):
            await self._server.shutdown(sockets=[self._socket] if self._socket else None)
        for connection in list(self._server.server_state.connections):
            connection.transport.abort()
