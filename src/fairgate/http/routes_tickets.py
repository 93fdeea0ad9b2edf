"""The ticket service (F10, F11, F14)."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, HTTPException, Path, Query, Response

from fairgate.http.caller import ByAnyone, ByService, Deps
from fairgate.http.models import IssueRequest, TicketShape, TicketsShape, UserId
from fairgate.http.replies import problems

router = APIRouter(prefix="/tickets", tags=["tickets"])

TicketId = Annotated[UUID, Path(alias="ticketId")]
IdempotencyKey = Annotated[str | None, Header(min_length=1, max_length=128, pattern=r"^[\x21-\x7e]+$")]


@router.post(
    "/issue",
    status_code=201,
    response_model=TicketShape,
    responses=problems(401, 403, 404, 409, 422) | {200: {"description": "It was issued before", "model": TicketShape}},
)
async def issue(
    services: Deps,
    caller: ByService,
    body: IssueRequest,
    response: Response,
    idempotency_key: IdempotencyKey = None,
) -> TicketShape:
    """The shop's own act: the same user and event get the same ticket, however often and however many at once ask."""
    ticket, fresh = await services.tickets.issue(body.user_id, body.event_id, idempotency_key, "service")
    response.status_code = 201 if fresh else 200
    return TicketShape.of(ticket)


@router.get("/issue", include_in_schema=False)
async def only_post() -> None:
    """This is no ticket."""
    raise HTTPException(405)


@router.get("", response_model=TicketsShape, responses=problems(401, 403))
async def list_tickets(
    services: Deps,
    caller: ByAnyone,
    user_id: Annotated[UserId | None, Query(alias="userId", description="Only for a service")] = None,
) -> TicketsShape:
    tickets = await services.tickets.of_user(caller.user(user_id))
    return TicketsShape(tickets=[TicketShape.of(ticket) for ticket in tickets])


@router.get("/{ticketId}", response_model=TicketShape, responses=problems(401, 404))
async def get_ticket(services: Deps, caller: ByAnyone, ticket_id: TicketId) -> TicketShape:
    """Somebody else's ticket is answered like one that does not exist."""
    return TicketShape.of(await services.tickets.get(str(ticket_id), caller.owner))


@router.post("/{ticketId}/confirm", response_model=TicketShape, responses=problems(401, 403, 404, 409))
async def confirm(services: Deps, caller: ByAnyone, ticket_id: TicketId) -> TicketShape:
    return TicketShape.of(await services.tickets.confirm(str(ticket_id), caller.owner))


@router.post("/{ticketId}/cancel", response_model=TicketShape, responses=problems(401, 403, 404, 409))
async def cancel(services: Deps, caller: ByAnyone, ticket_id: TicketId) -> TicketShape:
    """Its place goes to the next in line."""
    return TicketShape.of(await services.tickets.cancel(str(ticket_id), caller.owner))
