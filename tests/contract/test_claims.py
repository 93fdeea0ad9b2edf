"""Claims on a real Valkey: who is taken away, what is said of them, and how long each has been there."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

import pytest

from fairgate.domain.line import Line, LineState
from fairgate.domain.place import Outcome, Status
from fairgate.stores.accounts import Accounts
from fairgate.stores.channel import Channel
from fairgate.stores.claims import Claim, ClaimStore, Settled
from fairgate.stores.line import LineStore
from tests.conftest import Servers
from tests.support.line import Fans, Gatekeeper


class Owner:
    """Whoever holds the lease of a paused line with some waiters."""

    def __init__(self, store: LineStore, line: Line, epoch: int) -> None:
        self._store, self._line, self._epoch = store, line, epoch
        self._claims = ClaimStore(store)
        self._keys = store.keys(line.event_id)

    async def claim(self, count: int) -> list[Claim]:
        return (await self._claims.claim(self._line, self._epoch, count)).claims

    async def clear(self, claims: Sequence[Claim], *, held: bool = False) -> None:
        outcomes = [(claim.user_id, Outcome(Status.ADMITTED, claim.sequence)) for claim in claims]
        await self._claims.clear(Settled(self._line, self._epoch, "admitted", outcomes, held))

    async def claimed(self) -> list[str]:
        found = await self._store.channel.command("ZRANGE", self._keys.claims, 0, -1)
        return [user.decode() for user in found]

    async def backdate(self, claim: Claim, seconds: int) -> None:
        at = int(await self._store.channel.command("HGET", self._keys.claimed_at, claim.sequence))
        await self._store.channel.command("HSET", self._keys.claimed_at, claim.sequence, at - 1000 * seconds)

    async def times(self) -> int:
        return int(await self._store.channel.command("HLEN", self._keys.claimed_at))

    async def age_left(self, user: str) -> int:
        """Seconds that its outcome is still kept; -1: for good."""
        (left,) = await self._store.channel.command("HTTL", self._keys.outcomes, "FIELDS", 1, user)
        return int(left)


async def owner_of(crowd: Fans, keeper: Gatekeeper, event_id: str, waiting: int) -> tuple[Owner, Line]:
    line = await crowd.create(event_id, state=LineState.PAUSED)
    for i in range(waiting):
        await crowd.join(event_id, f"u{i}")
    return Owner(keeper.store, line, keeper.shards.epochs[line.shard]), line


async def test_a_batch_that_was_admitted_goes_as_a_whole(crowd: Fans, keeper: Gatekeeper, event_id: str) -> None:
    owner, line = await owner_of(crowd, keeper, event_id, 5)
    claims = await owner.claim(3)
    await owner.clear(claims)
    assert await owner.claimed() == []
    assert await owner.times() == 0
    assert [(await crowd.position(event_id, f"u{i}")).status for i in (0, 2, 3)] == [
        Status.ADMITTED,
        Status.ADMITTED,
        Status.WAITING,
    ]
    assert await owner.age_left("u0") > 3_600
    board = await keeper.store.board(line, 1)
    assert (board.admitted, board.serving, board.claims, board.size) == (3, claims[-1].sequence, 0, 2)


async def test_who_is_claimed_between_others_and_was_not_admitted_with_them_stays(
    crowd: Fans, keeper: Gatekeeper, event_id: str
) -> None:
    """As somebody whose place came back, and who was claimed by the next owner meanwhile."""
    owner, line = await owner_of(crowd, keeper, event_id, 3)
    first, between, last = await owner.claim(3)
    await owner.clear([first, last])
    assert await owner.claimed() == [between.user_id]
    await owner.clear([first, last])
    assert await owner.claimed() == [between.user_id]
    assert (await keeper.store.board(line, 1)).admitted == 2
    assert (await crowd.position(event_id, first.user_id)).status is Status.ADMITTED


async def test_each_claim_has_the_age_of_those_it_was_claimed_with(
    crowd: Fans, keeper: Gatekeeper, event_id: str
) -> None:
    owner, _ = await owner_of(crowd, keeper, event_id, 6)
    accounts = Accounts(crowd.database, keeper.store.channel)
    early = await owner.claim(2)
    await owner.backdate(early[0], 100)
    late = (await owner.claim(5))[2:]
    found = await accounts.line(event_id, named=5)
    assert [int(claim.age_s) // 100 for claim in found.named] == [1, 1, 0, 0, 0]
    assert int(found.oldest_claim_s) // 100 == 1
    await owner.clear(early)
    assert int((await accounts.line(event_id)).oldest_claim_s) // 100 == 0
    await owner.clear(late[:1], held=True)
    assert await owner.claimed() == [claim.user_id for claim in late[1:]]
    assert await owner.times() == 1, "of who is still claimed"


@pytest.mark.parametrize(("lacks", "for_good"), [(["-hsetex"], False), (["-hsetex", "-hexpire"], True)])
async def test_an_older_server_keeps_the_outcome_with_its_age_or_for_good(
    servers: Servers, keeper: Gatekeeper, event_id: str, crowd: Fans, *, lacks: list[str], for_good: bool
) -> None:
    _, line = await owner_of(crowd, keeper, event_id, 2)
    url = urlsplit(servers.valkey_url)
    await keeper.store.channel.command("ACL", "SETUSER", event_id, "on", "nopass", "~*", "&*", "+@all", *lacks)
    older = LineStore(Channel(url._replace(netloc=f"{event_id}:any@{url.hostname}:{url.port}").geturl()))
    try:
        owner = Owner(older, line, keeper.shards.epochs[line.shard])
        (claim,) = await owner.claim(1)
        await owner.clear([claim])
        assert (await crowd.position(event_id, claim.user_id)).status is Status.ADMITTED
        assert (await owner.age_left(claim.user_id) == -1) is for_good
        await older.remember(event_id, [(claim.user_id, Outcome(Status.CONFIRMED, claim.sequence, "t"))])
        assert (await crowd.position(event_id, claim.user_id)).status is Status.CONFIRMED
        assert (await owner.age_left(claim.user_id) == -1) is for_good
    finally:
        await older.channel.close()
        await keeper.store.channel.command("ACL", "DELUSER", event_id)
