"""What is driven: an implementation of the same HTTP API, and how to ask it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import msgspec


class Address(msgspec.Struct, frozen=True):
    host: str
    port: int


class Target(Protocol):
    """One implementation. `tokens` are the sessions of users, empty where it checks none."""

    name: str
    api: Address
    live: Address
    tokens: dict[str, str]

    @property
    def session(self) -> bytes | None:
        """The request that makes a guest with a session; None where there are none."""
        ...

    def join(self, event_id: str, user_id: str) -> bytes: ...
    def position(self, event_id: str, user_id: str) -> bytes: ...


def post(path: str, body: bytes, headers: Iterable[str] = ()) -> bytes:
    """A prepared request with a JSON body."""
    head = "".join(f"{header}\r\n" for header in headers)
    text = f"POST {path} HTTP/1.1\r\nHost: bench\r\n{head}Content-Type: application/json\r\nContent-Length: {len(body)}"
    return text.encode() + b"\r\n\r\n" + body


def get(path: str, headers: Iterable[str] = ()) -> bytes:
    head = "".join(f"{header}\r\n" for header in headers)
    return f"GET {path} HTTP/1.1\r\nHost: bench\r\n{head}\r\n".encode()


class FairgateTarget:
    """Fairgate, everything on: each request carries its user's own session."""

    session = post("/users/sessions", b"{}")

    def __init__(self, name: str, api: Address, live: Address) -> None:
        self.name, self.api, self.live = name, api, live
        self.tokens: dict[str, str] = {}

    def join(self, event_id: str, user_id: str) -> bytes:
        return post("/queue/join", msgspec.json.encode({"eventId": event_id}), self._who(user_id))

    def position(self, event_id: str, user_id: str) -> bytes:
        return get(f"/queue/position?eventId={event_id}", self._who(user_id))

    def _who(self, user_id: str) -> list[str]:
        return [f"Authorization: Bearer {self.tokens[user_id]}"]


class PlainTarget:
    """An implementation that believes the body: the peer."""

    session = None

    def __init__(self, name: str, api: Address, live: Address) -> None:
        self.name, self.api, self.live = name, api, live
        self.tokens: dict[str, str] = {}

    def join(self, event_id: str, user_id: str) -> bytes:
        return post("/queue/join", msgspec.json.encode({"eventId": event_id, "userId": user_id}))

    def position(self, event_id: str, user_id: str) -> bytes:
        return get(f"/queue/position?eventId={event_id}&userId={user_id}")
