"""The live role's port: the API's server and its bounds, with WebSocket beside HTTP."""

from __future__ import annotations

from fairgate.http.connection import Connection
from fairgate.http.live import LiveServer
from fairgate.http.live_wire import MESSAGE_MAX_BYTES
from fairgate.http.server import ApiServer


class LiveConnection(Connection):
    """Bounded like the API's; an upgrade to WebSocket leaves those bounds for Engine.IO's pings."""

    def upgrade_asked(self) -> None:
        if self._should_upgrade():
            self.handle_websocket_upgrade()
        else:
            super().upgrade_asked()


class LiveHttp(ApiServer):
    """Serves a `LiveServer`. Stops taking connections first, then sends every client on its way."""

    name = "live"

    def __init__(self, live: LiveServer, *, host: str, port: int) -> None:
        super().__init__(
            live.app,
            host=host,
            port=port,
            protocol=LiveConnection,
            ws="wsproto",
            ws_max_size=MESSAGE_MAX_BYTES,
            ws_ping_interval=None,  # Engine.IO has pings of its own
            ws_per_message_deflate=False,  # 300 KB of memory per socket, to save a few bytes of small messages
        )
        self._live = live

    async def teardown(self) -> None:
        for server in self._server.servers:
            server.close()
        await self._live.drain()
        await super().teardown()
