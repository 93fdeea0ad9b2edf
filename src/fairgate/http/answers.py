"""The bodies of the hot requests, read and written in one place for both ways in."""

from __future__ import annotations

from datetime import datetime

import msgspec
from msgspec import UNSET, UnsetType

from fairgate.domain.ids import LOBBY
from fairgate.domain.line import estimated_wait_s
from fairgate.domain.place import Place, Status
from fairgate.http.gate import COOKIE
from fairgate.http.services import Queue
from fairgate.users.sessions import NewSession


class JoinOrder(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Body of `POST /queue/join`; all of it may be left out."""

    user_id: str | None = None
    event_id: str | None = None
    place_token: str | None = None


class GuestOrder(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Body of `POST /users/sessions`."""

    user_id: str | None = None


class PlaceAnswer(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """F1, F2: exactly these, in this order; `ticketId` where there is a ticket, `recovering` while the line is."""

    event_id: str
    user_id: str
    status: Status
    position: int | None
    sequence: int | None
    size: int
    estimated_wait_seconds: int | None
    place_token: str | None
    ticket_id: str | UnsetType = UNSET
    recovering: bool | UnsetType = UNSET


class SessionAnswer(msgspec.Struct, frozen=True, rename="camel"):
    token: str
    user_id: str
    expires_at: datetime


_encode = msgspec.json.Encoder().encode
decode_join = msgspec.json.Decoder(JoinOrder).decode
decode_guest = msgspec.json.Decoder(GuestOrder).decode


def place_body(queue: Queue, event_id: str, user_id: str, place: Place) -> bytes:
    """JSON. Only who waits has a position, an estimate and a token to show after a loss. Raises `UnknownLine`."""
    waits = place.status is Status.WAITING and place.position is not None and place.sequence is not None
    return _encode(
        PlaceAnswer(
            event_id,
            user_id,
            place.status,
            place.position if waits else None,
            place.sequence,
            place.size,
            estimated_wait_s(place.position or 1, queue.line(event_id)) if waits else None,
            queue.signer.sign(event_id, user_id, place.sequence or 0) if waits else None,
            place.ticket_id or UNSET,
            place.recovering or UNSET,
        )
    )


def session_body(session: NewSession) -> bytes:
    return _encode(SessionAnswer(session.token, session.user_id, session.expires_at))


def session_cookie(token: str, max_age_s: int, https: bool) -> str:
    """Not readable by scripts, not sent along from other sites."""
    cookie = f"{COOKIE}={token}; Path=/; Max-Age={max_age_s}; HttpOnly; SameSite=Lax"
    return f"{cookie}; Secure" if https else cookie


def no_cookie(https: bool) -> str:
    return session_cookie("", 0, https)


def event_or_lobby(event_id: str | None) -> str:
    return LOBBY if event_id is None else event_id
