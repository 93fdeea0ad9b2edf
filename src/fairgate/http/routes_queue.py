"""The queue service: join, position, leave and the public board (F1–F4)."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Annotated

import msgspec
from fastapi import APIRouter, Header, HTTPException, Path, Query, Response

from fairgate.domain import ids
from fairgate.domain.place import Place
from fairgate.http.answers import event_or_lobby, place_body
from fairgate.http.caller import ByAnyone, Deps
from fairgate.http.models import BoardShape, EventId, JoinRequest, LeaveRequest, PlaceShape, UserId
from fairgate.http.replies import answered, json_reply, problems
from fairgate.http.services import PublicBoard, Services

router = APIRouter(prefix="/queue", tags=["queue"])

_SECOND = "public, max-age=1"


class BoardAnswer(msgspec.Struct, frozen=True, rename="camel"):
    event_id: str
    title: str
    state: str
    rate: float
    size: int
    serving: int
    remaining: int | None
    sold_out: bool
    bound: str
    opens_at: datetime | None
    steps: list[tuple[int, int]]
    poll_after_ms: int
    recovering: bool | msgspec.UnsetType = msgspec.UNSET


@router.post("/join", response_model=PlaceShape, responses=problems(401, 403, 404, 409, 429))
async def join(services: Deps, caller: ByAnyone, body: JoinRequest | None = None) -> Response:
    """Take a place at the tail. Joining again answers the same place, or what became of it.

    With the `placeToken` of an earlier answer, a place that was lost with the line's server comes back. Any token that
    is not genuine, yours and of a lost place is as good as none.
    """
    order = body or JoinRequest()
    user_id, event_id = caller.user(order.user_id), event_or_lobby(order.event_id)
    services.queue.line(event_id)
    place: Place = await answered(lambda answer: services.queue.join(event_id, user_id, answer, order.place_token))
    return _placed(services, event_id, user_id, place)


@router.get("/position", response_model=PlaceShape, responses=problems(401, 403, 404, 429))
async def position(
    services: Deps,
    caller: ByAnyone,
    event_id: Annotated[EventId, Query(alias="eventId")] = ids.LOBBY,
    user_id: Annotated[UserId | None, Query(alias="userId", description="Only for a service")] = None,
) -> Response:
    """Where you stand, exactly."""
    user = caller.user(user_id)
    services.queue.line(event_id)
    place: Place = await answered(lambda answer: services.queue.position(event_id, user, answer))
    return _placed(services, event_id, user, place)


@router.post("/leave", response_model=PlaceShape, responses=problems(401, 403, 404))
async def leave(services: Deps, caller: ByAnyone, body: LeaveRequest | None = None) -> Response:
    """Give the place up. Once admitted it is too late: the answer says so."""
    order = body or LeaveRequest()
    user_id, event_id = caller.user(order.user_id), event_or_lobby(order.event_id)
    services.queue.line(event_id)
    return _placed(services, event_id, user_id, await services.queue.leave(event_id, user_id))


@router.get("/join", include_in_schema=False)
@router.get("/leave", include_in_schema=False)
async def only_post() -> None:
    """These are no events."""
    raise HTTPException(405)


@router.get(
    "/{eventId}",
    response_model=BoardShape,
    responses=problems(404, 405) | {304: {"description": "Nothing has changed"}},
)
async def board(
    services: Deps,
    event_id: Annotated[EventId, Path(alias="eventId")],
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """The line as everybody may see it. Public; a cache in front may keep it for a second."""
    body = board_body(await services.queue.board(event_id))
    etag = f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
    if if_none_match is not None and _matches(if_none_match, etag):
        return Response(status_code=304, headers={"etag": etag, "cache-control": _SECOND})
    return json_reply(body, etag=etag, cache_control=_SECOND)


def _placed(services: Services, event_id: str, user_id: str, place: Place) -> Response:
    return json_reply(place_body(services.queue, event_id, user_id, place))


def board_body(board: PublicBoard) -> bytes:
    line = board.line
    return msgspec.json.encode(
        BoardAnswer(
            event_id=line.event_id,
            title=line.title,
            state=line.state.value,
            rate=line.rate,
            size=board.size,
            serving=board.serving,
            remaining=board.remaining,
            sold_out=line.sold_out,
            bound=board.bound,
            opens_at=line.opens_at,
            steps=board.steps,
            poll_after_ms=poll_after_ms(board.size, line.rate),
            recovering=board.recovering or msgspec.UNSET,
        )
    )


# Nobody need ask more often than the board changes, nor so seldom that a person loses faith.
POLL_MIN_MS, POLL_MAX_MS = 1_000, 15_000


def poll_after_ms(size: int, rate: float) -> int:
    """A fiftieth of the wait of who stands last: the longer the line, the less a second matters."""
    return max(POLL_MIN_MS, min(POLL_MAX_MS, int(size / rate * 1_000 / 50)))


def _matches(if_none_match: str, etag: str) -> bool:
    given = {part.strip().removeprefix("W/") for part in if_none_match.split(",")}
    return "*" in given or etag in given
