"""The notification service's inbox (F18). Sockets are in `live.py`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from fairgate.errors import NotFound
from fairgate.http.caller import BySession, Deps
from fairgate.http.models import NotificationShape, NotificationsShape
from fairgate.http.replies import problems

router = APIRouter(prefix="/notifications", tags=["notifications"])

PAGE = 50


@router.get("", response_model=NotificationsShape, responses=problems(401))
async def list_notifications(
    services: Deps,
    session: BySession,
    after: Annotated[str | None, Query(max_length=64, pattern=r"^[0-9]{1,19}-[0-9]{1,18}$")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = PAGE,
) -> NotificationsShape:
    """Oldest first. Ask again with `after` = `next` until it is null."""
    items = await services.inbox.list(session.user_id, after, limit)
    return NotificationsShape(
        notifications=[NotificationShape.of(item) for item in items],
        next=items[-1].cursor if len(items) == limit else None,
    )


@router.post("/{id}/seen", status_code=204, responses=problems(401, 403, 404))
async def seen(
    services: Deps,
    session: BySession,
    id: Annotated[str, Path(min_length=1, max_length=128, pattern=r"^[\x21-\x7e]+$")],
) -> Response:
    """Acknowledge. Repeating it changes nothing."""
    if not await services.inbox.seen(session.user_id, id):
        raise NotFound()
    return Response(status_code=204)
