"""Who calls (F16): a user by session, the shop by its service credential, an operator by theirs. Never a body field."""

from __future__ import annotations

from typing import Annotated, NamedTuple, cast

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyCookie, HTTPBearer
from starlette.requests import HTTPConnection

from fairgate.domain import ids
from fairgate.domain.session import Session
from fairgate.errors import InvalidRequest, NoSession, NotYours
from fairgate.http.gate import COOKIE, bearer_of, cookie_of
from fairgate.http.problems import CredentialNeeded, NotAllowed
from fairgate.http.services import Services


class _Bearer(HTTPBearer):
    """Only describes; the checks are below."""

    async def __call__(self, request: HTTPConnection) -> None:
        return None


class _Cookie(APIKeyCookie):
    """Only describes."""

    async def __call__(self, request: HTTPConnection) -> None:
        return None


_session = _Bearer(scheme_name="session", description="A user's session token")
_cookie = _Cookie(scheme_name="cookie", name=COOKIE, description="The same token, set as a cookie")
_service = _Bearer(scheme_name="service", description="The shop's credential")
_operator = _Bearer(scheme_name="operator", description="The operator's credential")

SESSION_HEAD = "s1."


class Caller(NamedTuple):
    """`session` None: the shop itself."""

    session: Session | None

    @property
    def owner(self) -> str | None:
        """Whose things the caller may touch; None: everybody's."""
        return self.session.user_id if self.session else None

    def user(self, named: str | None) -> str:
        """The user that this request is about. Raises `NotYours`, `InvalidRequest`."""
        if self.session is None:
            if named is None:
                raise InvalidRequest("a service must name the user: userId")
            return ids.user_id(named)
        if named is not None and named != self.session.user_id:
            raise NotYours()
        return self.session.user_id


async def services_of(request: Request) -> Services:
    return cast(Services, request.app.state.services)


Deps = Annotated[Services, Depends(services_of)]


def presented(request: Request) -> str | None:
    """The bearer's token, else the cookie's. Raises `NoSession` for an `Authorization` of another scheme."""
    authorization = request.headers.get("authorization")
    if authorization is not None:
        return bearer_of(authorization)
    return cookie_of(request.headers.get("cookie", ""))


async def _user(
    request: Request,
    services: Deps,
    _a: Annotated[object, Security(_session)],
    _b: Annotated[object, Security(_cookie)],
) -> Session:
    token = presented(request)
    if token is None:
        raise NoSession()
    return await services.sessions.verify(token)


async def _user_or_service(
    request: Request,
    services: Deps,
    _a: Annotated[object, Security(_session)],
    _b: Annotated[object, Security(_cookie)],
    _c: Annotated[object, Security(_service)],
) -> Caller:
    token = presented(request)
    if token is None:
        raise NoSession()
    if services.gate.is_credential("service", token):
        return Caller(None)
    return Caller(await services.sessions.verify(token))


async def _only_service(request: Request, services: Deps, _a: Annotated[object, Security(_service)]) -> Caller:
    _demand(request, services, "service")
    return Caller(None)


async def _only_operator(request: Request, services: Deps, _a: Annotated[object, Security(_operator)]) -> None:
    _demand(request, services, "operator")


def _demand(request: Request, services: Services, which: str) -> None:
    """Cookies never carry a credential. Raises `CredentialNeeded`, or `NotAllowed` for another kind of caller."""
    authorization = request.headers.get("authorization")
    token = bearer_of(authorization) if authorization is not None else ""
    wanted, other = ("service", "operator") if which == "service" else ("operator", "service")
    if services.gate.is_credential(wanted, token):  # type: ignore[arg-type]
        return
    if services.gate.is_credential(other, token) or token.startswith(SESSION_HEAD):  # type: ignore[arg-type]
        raise NotAllowed()
    raise CredentialNeeded()


BySession = Annotated[Session, Depends(_user)]
ByAnyone = Annotated[Caller, Depends(_user_or_service)]
ByService = Annotated[Caller, Depends(_only_service)]
ByOperator = Depends(_only_operator)
