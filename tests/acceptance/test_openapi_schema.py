"""The API keeps to its own description: schemathesis sends what it allows and what it forbids, to real servers.

Never a 5xx, never an undocumented status, shape or media type, never a stack trace.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import CHECKS, load_all_checks

from fairgate.domain.ids import RESERVED_EVENT_IDS
from fairgate.domain.session import SessionSigner
from fairgate.http import hot
from fairgate.http.app import create_app
from fairgate.http.server import ApiServer
from fairgate.notification.inbox import Inbox
from fairgate.stores.database import Database
from fairgate.stores.inbox import InboxStore
from fairgate.stores.sessions import SessionStore
from fairgate.stores.users import UserStore
from fairgate.stores.valkey import client
from fairgate.ticketing.tickets import Tickets
from fairgate.users.keeper import SessionKeeper
from fairgate.users.sessions import Sessions
from fairgate.users.users import Users
from tests.conftest import Servers
from tests.support.edge import OPERATOR, SERVICE, config, services
from tests.support.line import fans, gatekeeper

load_all_checks()

# It asks again without the credential, but the header given here goes along: `test_http_edge` has the whole matrix.
EXCLUDED = [CHECKS.get_one("ignored_auth")]
# Whether a capacity can be met, or a key is free, depends on what came before: no description of data can say so.
STATEFUL = [CHECKS.get_one("positive_data_acceptance")]


@asynccontextmanager
async def api(dsn: str, valkey_url: str) -> AsyncIterator[str]:
    """The whole of the API role on a port of its own, with lines that admit; its address."""
    async with gatekeeper(dsn, valkey_url), fans(dsn, valkey_url) as crowd:
        valkey, database = client(valkey_url), Database(dsn)
        sessions = Sessions(SessionStore(valkey, database), SessionSigner(b"another key of the tests"))
        parts = services(
            config=config(),
            queue=crowd.queue,
            lines=crowd.lines,
            tickets=Tickets(database),
            inbox=Inbox(InboxStore(database)),
            sessions=sessions,
            users=Users(UserStore(database)),
        )
        server = ApiServer(create_app(parts), host="127.0.0.1", port=0, protocol=hot.protocol(parts))
        keeper = SessionKeeper(sessions)
        await sessions.refresh()
        await crowd.until_ready("lobby")
        await crowd.create(LINE, capacity=10)
        await keeper.start()
        await server.start()
        yield f"http://127.0.0.1:{server.port}"
        await server.stop()
        await keeper.stop()
        await valkey.aclose()
        await database.close()


@pytest.fixture(scope="module")
def address(servers: Servers) -> Iterator[str]:
    """In a thread, since schemathesis blocks."""
    ready: list[str] = []
    failed: list[Exception] = []
    started, done = threading.Event(), threading.Event()

    async def serve() -> None:
        async with api(servers.postgres_dsn, servers.valkey_url) as address:
            ready.append(address)
            started.set()
            await asyncio.to_thread(done.wait)

    def run() -> None:
        try:
            asyncio.run(serve())
        except Exception as error:
            failed.append(error)
            started.set()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert started.wait(60), "the API did not start"
    assert not failed, failed
    yield ready[0]
    done.set()
    thread.join(30)


@pytest.fixture(scope="module")
def token(address: str) -> str:
    return str(requests.post(f"{address}/users/sessions", timeout=10).json()["token"])


schema = schemathesis.openapi.from_dict(create_app(services()).openapi())


# The lobby is everybody's: what operators do is done to another line.
LINE = "line-of-the-description"


def credential(path: str, token: str) -> str:
    if path.startswith("/admin") or path == "/metrics":
        return OPERATOR
    return SERVICE if path == "/tickets/issue" else token


@schema.parametrize()
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_api_keeps_to_its_description(case: schemathesis.Case, address: str, token: str) -> None:
    if case.path.startswith("/admin") and case.path_parameters.get("eventId") == "lobby":
        case.path_parameters["eventId"] = LINE
    headers = {"authorization": f"Bearer {credential(case.path, token)}"}
    if case.path == "/queue/{eventId}" and case.path_parameters.get("eventId") in RESERVED_EVENT_IDS:
        return  # that is another route
    excluded = EXCLUDED + (STATEFUL if case.method == "PATCH" or case.path == "/tickets/issue" else [])
    case.call_and_validate(base_url=address, headers=headers, excluded_checks=excluded)
