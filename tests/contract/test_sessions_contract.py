"""Sessions: in memory where servers must fail on command, and on real Valkey and PostgreSQL where they must not."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable

import pytest

from fairgate.domain.session import Session, SessionSigner
from fairgate.errors import FairgateError, NoSession, Unavailable
from fairgate.stores import keys
from fairgate.stores.database import Database
from fairgate.stores.sessions import SessionStore
from fairgate.stores.users import Preferences, User, UserStore
from fairgate.stores.valkey import client
from fairgate.users.keeper import SessionKeeper
from fairgate.users.sessions import NewSession, Sessions
from fairgate.users.users import Users
from tests.conftest import Servers
from tests.support.edge import sessions
from tests.support.memory import SessionStoreInMemory

SIGNER = SessionSigner(b"another key of the tests")


class Clock:
    """Wall time that the test moves."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


async def made(sessions: Sessions, user_id: str = "u-1") -> NewSession:
    future: asyncio.Future[NewSession | FairgateError] = asyncio.get_running_loop().create_future()
    sessions.create(user_id, future.set_result)
    answer = await asyncio.wait_for(future, 5)
    if isinstance(answer, FairgateError):
        raise answer
    return answer


class Other:
    """Makes further processes on the same stores: they have seen nothing."""

    def __init__(self) -> None:
        self.store, self.clock = SessionStoreInMemory(), Clock()

    async def process(self, **settings: int) -> Sessions:
        fresh = sessions(self.store, clock=self.clock, **settings)
        await fresh.refresh()
        return fresh


@pytest.fixture
def stores() -> Other:
    return Other()


async def test_a_session_made_by_one_process_holds_in_every_other(stores: Other) -> None:
    new = await made(await stores.process())
    assert (await (await stores.process()).verify(new.token)).user_id == "u-1"


# Half of the idle time: from here on the store is asked.
YOUNG_S = 3_600


async def test_a_young_token_is_believed_without_asking(stores: Other) -> None:
    new = await made(await stores.process())
    stores.clock.now += YOUNG_S - 1
    assert (await (await stores.process()).verify(new.token)).user_id == "u-1"
    assert stores.store.touches == 0


async def test_a_young_token_is_asked_about_where_logouts_may_be_unheard(
    stores: Other, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fairgate.users.sessions.HEARD_S", 0.0)
    new = await made(await stores.process())
    await (await stores.process()).verify(new.token)
    assert stores.store.touches == 1


async def test_who_asked_in_time_has_the_whole_idle_time_before_them(stores: Other) -> None:
    """The store keeps a hash half of the idle time longer, since it is not asked of young tokens."""
    new = await made(await stores.process())
    session = await (await stores.process()).verify(new.token)
    assert stores.store.hashes[session.hash] >= YOUNG_S + 7_200
    stores.clock.now += YOUNG_S
    await (await stores.process()).verify(new.token)
    assert stores.store.touches == 1


async def test_a_process_forgets_the_tokens_that_were_asked_about_longest_ago(
    stores: Other, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fairgate.users.sessions.SEEN_MAX", 2)
    process = await stores.process()
    tokens = [(await made(process, f"u-{i}")).token for i in range(3)]
    stores.clock.now += YOUNG_S
    for token in (*tokens, tokens[2], tokens[1]):
        await process.verify(token)
    assert stores.store.touches == 3
    await process.verify(tokens[0])
    assert stores.store.touches == 4


async def test_a_token_is_asked_about_once_and_then_believed(stores: Other) -> None:
    new = await made(await stores.process())
    stores.clock.now += YOUNG_S
    other = await stores.process()
    for _ in range(5):
        await other.verify(new.token)
    assert stores.store.touches == 1


@pytest.mark.parametrize("age_s", [0, YOUNG_S])
async def test_a_known_token_is_answered_before_check_returns(stores: Other, age_s: int) -> None:
    process = await stores.process()
    new = await made(process)
    stores.clock.now += age_s
    await process.verify(new.token)
    answers: list[Session | FairgateError] = []
    process.check(new.token, answers.append)
    assert isinstance(answers[0], Session)


async def test_many_checks_at_once_are_all_answered_once(stores: Other) -> None:
    process = await stores.process()
    tokens = [(await made(process, f"u-{i}")).token for i in range(700)]
    other = await stores.process()
    users = await asyncio.gather(*(other.verify(token) for token in tokens))
    assert [session.user_id for session in users] == [f"u-{i}" for i in range(700)]


async def test_an_unused_session_expires(stores: Other) -> None:
    new = await made(await stores.process(idle_s=60))
    stores.clock.now += 91
    stores.store.hashes.clear()  # what Valkey does by itself
    with pytest.raises(NoSession):
        await (await stores.process(idle_s=60)).verify(new.token)


async def test_a_session_that_the_store_lost_is_put_back(stores: Other) -> None:
    new = await made(await stores.process())
    stores.store.hashes.clear()  # an unclean restart: same generation, the last second is gone
    stores.clock.now += YOUNG_S
    assert (await (await stores.process()).verify(new.token)).user_id == "u-1"
    assert stores.store.hashes


async def test_sessions_outlive_a_wiped_store(stores: Other) -> None:
    new = await made(await stores.process(idle_s=60))
    stores.clock.now += 61
    stores.store.wipe()
    other = await stores.process(idle_s=60)
    assert (await other.verify(new.token)).user_id == "u-1"
    assert stores.store.number == 2


async def test_a_wiped_store_brings_no_revoked_session_back(stores: Other) -> None:
    process = await stores.process()
    new = await made(process)
    await process.revoke(await process.verify(new.token))
    stores.store.wipe()
    with pytest.raises(NoSession):
        await (await stores.process()).verify(new.token)


async def test_whether_a_lost_session_was_revoked_is_never_guessed(stores: Other) -> None:
    new = await made(await stores.process())
    stores.clock.now += YOUNG_S
    other = await stores.process()
    stores.store.hashes.clear()
    stores.store.sql_away = True
    with pytest.raises(Unavailable):
        await other.verify(new.token)


async def test_no_session_grows_older_than_the_absolute_age(stores: Other) -> None:
    process = await stores.process(idle_s=60, max_age_s=120)
    new = await made(process)
    for _ in range(3):
        stores.clock.now += 30
        await (await stores.process(idle_s=60, max_age_s=120)).verify(new.token)
    stores.clock.now += 31
    with pytest.raises(NoSession):
        await (await stores.process(idle_s=60, max_age_s=120)).verify(new.token)


async def test_without_valkey_who_was_seen_goes_on_and_who_was_not_tries_again(
    stores: Other, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = await stores.process()
    seen, unseen = await made(process), await made(await stores.process(), "u-2")
    monkeypatch.setattr("fairgate.users.sessions.FRESH_S", 0.0)
    stores.clock.now += YOUNG_S
    await process.verify(seen.token)
    stores.store.valkey_away = True
    assert (await process.verify(seen.token)).user_id == "u-1"
    with pytest.raises(Unavailable):
        await process.verify(unseen.token)
    with pytest.raises(Unavailable):
        await made(process, "u-3")


async def test_without_valkey_a_revoked_session_is_still_over(stores: Other) -> None:
    process, other = await stores.process(), await stores.process()
    new = await made(process)
    session = await other.verify(new.token)
    stores.store.valkey_away = True
    await process.revoke(session)
    with pytest.raises(NoSession):
        await process.verify(new.token)
    with pytest.raises(Unavailable):
        await other.refresh()  # learns of the logout although Valkey is away
    with pytest.raises(NoSession):
        await other.verify(new.token)


async def test_without_sql_nobody_is_logged_out_halfway(stores: Other) -> None:
    process = await stores.process()
    new = await made(process)
    stores.store.sql_away = True
    with pytest.raises(Unavailable):
        await process.revoke(await process.verify(new.token))
    assert (await process.verify(new.token)).user_id == "u-1"


async def test_before_the_store_is_known_no_session_is_made() -> None:
    with pytest.raises(Unavailable):
        await made(sessions())


async def test_a_guests_id_is_nobodys_choice(stores: Other) -> None:
    process = await stores.process()
    ids: list[NewSession | FairgateError] = []
    done = asyncio.Event()

    def take(answer: NewSession | FairgateError) -> None:
        ids.append(answer)
        if len(ids) == 50:
            done.set()

    for _ in range(50):
        process.create_guest(take)
    await asyncio.wait_for(done.wait(), 5)
    names = {new.user_id for new in ids if isinstance(new, NewSession)}
    assert len(names) == 50
    assert all(name.startswith("g-") and len(name) == 24 for name in names)


# ---- real servers


@pytest.fixture
async def real(servers: Servers) -> AsyncIterator[Callable[[], Sessions]]:
    """Makes processes on real stores."""
    valkey, database = client(servers.valkey_url), Database(servers.postgres_dsn)
    yield lambda: Sessions(SessionStore(valkey, database), SIGNER)
    await valkey.aclose()
    await database.close()


async def test_on_real_servers_a_session_lives_and_ends(real: Callable[[], Sessions], servers: Servers) -> None:
    one, other = real(), real()
    await one.refresh()
    new = await made(one, f"u-{uuid.uuid4().hex}")
    session = await other.verify(new.token)
    valkey = client(servers.valkey_url)
    assert one.idle_s < await valkey.ttl(keys.session(session.hash)) <= one.idle_s * 3 / 2
    assert await valkey.hgetall(keys.session(session.hash)) == {"user": new.user_id}
    await one.revoke(session)
    assert not await valkey.exists(keys.session(session.hash))
    await valkey.aclose()
    keeper = SessionKeeper(other)
    async with keeper.signals["refreshed"].expect(1, within_s=20):
        await keeper.start()
    with pytest.raises(NoSession):
        await other.verify(new.token)
    await keeper.stop()
    await other.tidy()


async def test_on_real_servers_a_lost_hash_comes_back_unless_revoked(
    real: Callable[[], Sessions], servers: Servers
) -> None:
    one = real()
    await one.refresh()
    kept, ended = await made(one, "u-kept"), await made(one, "u-ended")
    await one.revoke(await one.verify(ended.token))
    valkey = client(servers.valkey_url)
    await valkey.delete(keys.session((await one.verify(kept.token)).hash))
    await valkey.aclose()
    other = real()
    assert (await other.verify(kept.token)).user_id == "u-kept"
    with pytest.raises(NoSession):
        await other.verify(ended.token)


async def test_an_empty_valkey_begins_a_new_generation_once_for_all_processes(servers: Servers) -> None:
    url = servers.valkey_url.rsplit("/", 1)[0] + "/9"  # a database of its own, so that it may be wiped
    valkey, database = client(url), Database(servers.postgres_dsn)
    await valkey.flushdb()
    stores = [SessionStore(valkey, database) for _ in range(5)]
    generations = set(await asyncio.gather(*(store.generation() for store in stores)))
    assert len(generations) == 1
    await valkey.flushdb()
    assert await stores[0].generation() > generations.pop()
    await valkey.aclose()
    await database.close()


async def test_what_a_user_says_of_themselves_is_kept(servers: Servers, user_id: str) -> None:
    database = Database(servers.postgres_dsn)
    users = Users(UserStore(database))
    assert await users.get(user_id) == User(user_id=user_id)
    said = User(user_id=user_id, locale="ko", email="me@example.com", preferences=Preferences(email=False))
    await users.put(said)
    await users.put(said)
    assert await users.get(user_id) == said
    await database.close()
