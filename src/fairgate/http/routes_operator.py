"""What operators do to lines (F5)."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path

from fairgate.domain.line import LineState
from fairgate.http.caller import ByOperator, Deps
from fairgate.http.models import EventId
from fairgate.http.models_operator import ChangeLine, CreateLine, LineShape, LinesShape
from fairgate.http.replies import problems
from fairgate.queue.lines import NO_HOLD, UNLIMITED

router = APIRouter(prefix="/admin/events", tags=["operator"], dependencies=[ByOperator])

Event = Annotated[EventId, Path(alias="eventId")]
_CHANGE = problems(401, 403, 404, 409)


@router.post("", status_code=201, response_model=LineShape, responses=problems(401, 403, 409))
async def create(services: Deps, body: CreateLine) -> LineShape:
    line = await services.lines.create(
        body.event_id,
        title=body.title,
        rate=body.rate,
        burst=body.burst,
        capacity=body.capacity,
        hold_s=body.hold_seconds,
        state=LineState(body.state),
        opens_at=body.opens_at,
    )
    return LineShape.of(line)


@router.get("", response_model=LinesShape, responses=problems(401, 403))
async def list_lines(services: Deps) -> LinesShape:
    return LinesShape(lines=[LineShape.of(line) for line in await services.lines.list()])


@router.get("/{eventId}", response_model=LineShape, responses=problems(401, 403, 404))
async def get(services: Deps, event_id: Event) -> LineShape:
    return LineShape.of(await services.lines.get(event_id))


@router.patch("/{eventId}", response_model=LineShape, responses=_CHANGE)
async def change(services: Deps, event_id: Event, body: ChangeLine) -> LineShape:
    """Takes effect at once, also while people wait."""
    return LineShape.of(await services.lines.change(event_id, **_named(body)))


@router.post("/{eventId}/open", response_model=LineShape, responses=_CHANGE)
async def open_line(services: Deps, event_id: Event) -> LineShape:
    return LineShape.of(await services.lines.open(event_id))


@router.post("/{eventId}/pause", response_model=LineShape, responses=_CHANGE)
async def pause(services: Deps, event_id: Event) -> LineShape:
    """People may still join; nobody is admitted."""
    return LineShape.of(await services.lines.pause(event_id))


@router.post("/{eventId}/close", response_model=LineShape, responses=_CHANGE)
async def close(services: Deps, event_id: Event) -> LineShape:
    """For good: who waits is told so, who was admitted keeps the right."""
    return LineShape.of(await services.lines.close(event_id))


@router.post("/{eventId}/sell-out", response_model=LineShape, responses=_CHANGE)
async def sell_out(services: Deps, event_id: Event) -> LineShape:
    """Who waits is told that no ticket remains."""
    return LineShape.of(await services.lines.sell_out(event_id))


def _named(body: ChangeLine) -> dict[str, Any]:
    """What the body names, in the words of `Lines.change`: null means no bound."""
    values = {name: getattr(body, name) for name in body.model_fields_set}
    if "capacity" in values and values["capacity"] is None:
        values["capacity"] = UNLIMITED
    if "hold_seconds" in values:
        values["hold_s"] = values.pop("hold_seconds") or NO_HOLD
    return values
