"""Which requests the hot lane takes, by head and body alone. Whatever is not plain is the application's.

Each rule here is one that `Edge`, `caller` and the routes have as well; where they would refuse, this answers None.

Who polls sends the same head again and again, and a thousand who use the same client differ by their tokens only. So a
head that was read once is known (`Known`): of the next one only the token is looked at.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal, TypeAlias

import msgspec

from fairgate.domain.ids import LOBBY, RESERVED_EVENT_IDS
from fairgate.errors import OriginRefused
from fairgate.http.answers import decode_guest, decode_join
from fairgate.http.caller import SESSION_HEAD
from fairgate.http.gate import PLACE_TOKEN_MAX, TOKEN_MAX, Gate, cookie_of, is_json
from fairgate.http.headers import JSON, Header, cors

Kind: TypeAlias = Literal["/queue/join", "/queue/position", "/users/sessions"]
JOIN: Kind = "/queue/join"
POSITION: Kind = "/queue/position"
GUEST: Kind = "/users/sessions"

Head: TypeAlias = dict[bytes, bytes]

_POSTS: dict[bytes, Kind] = {JOIN.encode(): JOIN, GUEST.encode(): GUEST}
_POSITION = re.compile(rb"/queue/position(?:\?eventId=([A-Za-z0-9_.:@-]{1,64}))?")
_ID = re.compile(r"[A-Za-z0-9_.:@-]{1,64}", re.ASCII)
# With one of these a request is not plain.
_UNUSUAL = frozenset({b"transfer-encoding", b"expect", b"upgrade", b"content-encoding"})
_BEARER = f"Bearer {SESSION_HEAD}".encode()
_HEAD = SESSION_HEAD.encode()
_TOKEN_SIGNS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."
# A browser's head is half of it.
KNOWN_MAX_BYTES = 2_048
# With `Bearer ` before it.
KNOWN_TOKEN_MAX = TOKEN_MAX - 7


class Plain(msgspec.Struct, gc=False):
    """One hot request: of its head only what is asked for later. Thousands wait at once, and what each keeps must be
    read again from further and further away. `token` is empty for a guest; `named` and `place_token` are the body's.
    """

    kind: Kind
    language: bytes
    origin: bytes | None
    forwarded_for: bytes
    event_id: str = LOBBY
    token: str = ""
    named: str | None = None
    place_token: str | None = None
    body: bytes = b""


class Known(msgspec.Struct, frozen=True, gc=False):
    """A whole read of a place, as it came, around its token; and what it said but for that: no token is kept."""

    before: bytes
    after: bytes
    said: Plain

    def read(self, data: bytes) -> Plain | None:
        """The same request with a token of its own. None: look at the head."""
        if not (data.startswith(self.before) and data.endswith(self.after)):
            return None
        token = data[len(self.before) : len(data) - len(self.after)]
        # What a token can have ends no header and no cookie, so the rest means what it did.
        if len(token) > KNOWN_TOKEN_MAX or not token.startswith(_HEAD) or token.translate(None, _TOKEN_SIGNS):
            return None
        said = self.said
        return Plain(said.kind, said.language, said.origin, said.forwarded_for, said.event_id, token.decode("ascii"))


def known(data: bytes, said: Plain) -> Known | None:
    """Of a request that came alone, in these bytes. None where its token cannot be ours or stands there twice, or where
    it is too long to be kept.
    """
    if len(data) > KNOWN_MAX_BYTES:
        return None
    token = said.token.encode("latin-1")
    before, found, after = data.partition(token)
    made = Known(before, after, msgspec.structs.replace(said, token="")) if found and token not in after else None
    return made if made is not None and made.read(data) is not None else None


def kind_of(url: bytes, method: bytes) -> Kind | None:
    """A first look, for every request of every connection."""
    if method == b"GET":
        return POSITION if url.startswith(b"/queue/position") else None
    return _POSTS.get(url) if method == b"POST" else None


def plain(kind: Kind, url: bytes, headers: list[Header], gate: Gate, body_max: int) -> Plain | None:
    """The request, as far as its head says."""
    head = dict(headers)
    if len(head) != len(headers) or not _UNUSUAL.isdisjoint(head):
        return None
    length = head.get(b"content-length", b"0")
    if len(length) > 8 or int(length) > (0 if kind is POSITION else body_max):
        return None
    request = Plain(kind, head.get(b"accept-language", b""), head.get(b"origin"), head.get(b"x-forwarded-for", b""))
    if kind is POSITION:
        event_id = _event_of(url)
        if event_id is None:
            return None
        request.event_id = event_id
    return request if _credentials_read(request, head, gate, empty=length == b"0") else None


@lru_cache(4_096)
def _event_of(url: bytes) -> str | None:
    """The line that this asks about; None where the application must look. There are few lines and many askers."""
    found = _POSITION.fullmatch(url)
    if found is None:
        return None
    event_id = found[1].decode() if found[1] else LOBBY
    return None if event_id in RESERVED_EVENT_IDS else event_id


def _credentials_read(request: Plain, head: Head, gate: Gate, *, empty: bool) -> bool:
    authorization = head.get(b"authorization")
    cookie = cookie_of(head[b"cookie"].decode("latin-1")) if b"cookie" in head else None
    by_cookie = authorization is None and cookie is not None
    if request.kind is not POSITION and not _may_change(head, gate, by_cookie, empty):
        return False
    if request.kind is GUEST:
        return authorization is None
    if authorization is not None:
        request.token = authorization[7:].decode("latin-1")
        return len(authorization) <= TOKEN_MAX and authorization.startswith(_BEARER)
    request.token = cookie or ""
    return request.token.startswith(SESSION_HEAD)


def _may_change(head: Head, gate: Gate, by_cookie: bool, empty: bool) -> bool:
    media = head.get(b"content-type", b"")
    if media != JSON and (by_cookie or not empty) and not is_json(media.decode("latin-1")):
        return False
    origin = head.get(b"origin")
    if origin is None:
        return not by_cookie
    try:
        gate.admit_origin(origin.decode("latin-1"), head.get(b"host", b"").decode("latin-1"), by_cookie=by_cookie)
    except OriginRefused:
        return False
    return True


def body_read(request: Plain) -> bool:
    """Understand the body that came behind the head. False for what the application refuses, or does for a service."""
    if request.kind is POSITION or not request.body:
        return True
    try:
        if request.kind is GUEST:
            return decode_guest(request.body).user_id is None
        order = decode_join(request.body)
    except (msgspec.DecodeError, UnicodeError):
        return False
    if order.event_id is not None:
        request.event_id = order.event_id
    request.named, request.place_token = order.user_id, order.place_token
    return (
        _ID.fullmatch(request.event_id) is not None
        and request.event_id not in RESERVED_EVENT_IDS
        and (order.user_id is None or _ID.fullmatch(order.user_id) is not None)
        and (order.place_token is None or len(order.place_token) <= PLACE_TOKEN_MAX)
    )


def lines(headers: list[Header]) -> bytes:
    return b"".join(b"%s: %s\r\n" % header for header in headers)


def cors_lines(origin: bytes, gate: Gate) -> bytes:
    """For an answer to a page of another site that the operator allows."""
    named = origin.decode("latin-1")
    return lines(cors(named)) if gate.foreign(named) else b""
