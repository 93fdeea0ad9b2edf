"""Shapes of requests and answers as the API's description shows them. Their examples run as printed."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from fairgate.domain.ids import ID_PATTERN, RESERVED_EVENT_IDS
from fairgate.domain.place import Status
from fairgate.domain.ticket import Ticket
from fairgate.http.gate import PLACE_TOKEN_MAX
from fairgate.http.services import InboxItem
from fairgate.stores.users import User

StatusName = Literal[
    "waiting", "admitted", "issued", "confirmed", "cancelled", "expired", "sold_out", "closed", "left", "none"
]
StateName = Literal["scheduled", "open", "paused", "closed"]
assert set(get_args(StatusName)) == set(Status)


def _not_reserved(event_id: str) -> str:
    if event_id in RESERVED_EVENT_IDS:
        raise ValueError("this name is a route")
    return event_id


UserId = Annotated[str, Field(pattern=ID_PATTERN, min_length=1, max_length=64, examples=["user-1"])]
EventId = Annotated[
    str,
    Field(
        pattern=ID_PATTERN,
        min_length=1,
        max_length=64,
        examples=["lobby"],
        json_schema_extra={"not": {"enum": sorted(RESERVED_EVENT_IDS)}},
    ),
    AfterValidator(_not_reserved),
]
Email = Annotated[str, Field(max_length=254, pattern=r"^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,189}$")]


class Shape(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", strict=True)


class ProblemShape(Shape):
    """RFC 9457. `type` is stable, `title` follows `Accept-Language` (en, ko)."""

    type: Annotated[str, Field(pattern=r"^urn:fairgate:problem:[a-z0-9-]+$")]
    title: str
    status: int
    detail: str
    retry_after_ms: int | None = None
    errors: list[str] | None = None


class LeaveRequest(Shape):
    user_id: UserId | None = None
    event_id: EventId | None = None

    model_config = ConfigDict(json_schema_extra={"examples": [{"eventId": "lobby"}]})


class JoinRequest(LeaveRequest):
    place_token: Annotated[
        str | None, Field(max_length=PLACE_TOKEN_MAX, description="Of an earlier answer: brings a lost place back")
    ] = None


RECOVERING = "Only while the line is given back its places after a loss: show your placeToken again, the place may move"


class PlaceShape(Shape):
    event_id: str
    user_id: str
    status: StatusName
    position: Annotated[int | None, Field(description="1-based; only while waiting")]
    sequence: Annotated[int | None, Field(description="The number that decides the order")]
    size: Annotated[int, Field(ge=0)]
    estimated_wait_seconds: int | None
    place_token: Annotated[str | None, Field(description="Proves the place after a loss")]
    ticket_id: str | None = None
    recovering: Annotated[bool | None, Field(description=RECOVERING)] = None


class BoardShape(Shape):
    """`steps` are [sequence, people before it] in order: interpolate for your own place."""

    event_id: str
    title: str
    state: StateName
    rate: float
    size: int
    serving: Annotated[int, Field(description="The last sequence whose turn has come")]
    remaining: int | None
    sold_out: bool
    bound: Annotated[str, Field(description="What decides how many are admitted now; `none` while all who wait pass")]
    opens_at: datetime | None
    steps: list[Annotated[list[int], Field(min_length=2, max_length=2)]]
    poll_after_ms: int
    recovering: Annotated[bool | None, Field(description=RECOVERING)] = None


class SessionRequest(Shape):
    user_id: Annotated[UserId | None, Field(description="Only for the shop's own credential")] = None

    model_config = ConfigDict(json_schema_extra={"examples": [{}]})


class SessionShape(Shape):
    token: str
    user_id: str
    expires_at: Annotated[datetime, Field(description="Unless it is used before")]


class PreferencesShape(Shape):
    email: bool = True
    push: bool = True


class MeRequest(Shape):
    locale: Literal["en", "ko"] = "en"
    email: Email | None = None
    preferences: PreferencesShape = PreferencesShape()

    model_config = ConfigDict(json_schema_extra={"examples": [{"locale": "ko", "email": "me@example.com"}]})


class MeShape(MeRequest):
    user_id: str

    @classmethod
    def of(cls, user: User) -> MeShape:
        preferences = PreferencesShape(email=user.preferences.email, push=user.preferences.push)
        return cls(user_id=user.user_id, locale=user.locale, email=user.email, preferences=preferences)


class IssueRequest(Shape):
    user_id: UserId
    event_id: EventId

    model_config = ConfigDict(json_schema_extra={"examples": [{"userId": "user-1", "eventId": "lobby"}]})


class TicketShape(Shape):
    ticket_id: str
    event_id: str
    user_id: str
    number: Annotated[int, Field(description="In the event's order of admission")]
    status: Literal["pending", "confirmed", "cancelled", "expired"]
    issued_at: datetime
    expires_at: datetime | None

    @classmethod
    def of(cls, ticket: Ticket) -> TicketShape:
        return cls(
            ticket_id=str(ticket.ticket_id),
            event_id=ticket.event_id,
            user_id=ticket.user_id,
            number=ticket.number,
            status=ticket.status.value,
            issued_at=ticket.issued_at,
            expires_at=ticket.expires_at,
        )


class TicketsShape(Shape):
    tickets: list[TicketShape]


class NotificationShape(Shape):
    id: str
    kind: str
    payload: dict[str, Any]
    created_at: datetime
    seen_at: datetime | None
    cursor: str

    @classmethod
    def of(cls, item: InboxItem) -> NotificationShape:
        return cls(
            id=item.id,
            kind=item.kind,
            payload=item.payload,
            created_at=item.created_at,
            seen_at=item.seen_at,
            cursor=item.cursor,
        )


class NotificationsShape(Shape):
    """`next` goes into `after` of the next call; null where nothing is left."""

    notifications: list[NotificationShape]
    next: str | None


class HealthShape(Shape):
    status: Literal["ok"]


class ReadyShape(Shape):
    """Each dependency or duty: `ok`, or what is wrong."""

    ready: bool
    checks: dict[str, str]
