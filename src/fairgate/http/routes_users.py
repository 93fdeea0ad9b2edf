"""The user service (F15): sessions and what users say of themselves."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from fairgate.domain.session import Session
from fairgate.errors import NotYours
from fairgate.http.answers import no_cookie, session_body, session_cookie
from fairgate.http.caller import SESSION_HEAD, BySession, Caller, Deps
from fairgate.http.gate import bearer_of
from fairgate.http.models import MeRequest, MeShape, SessionRequest, SessionShape
from fairgate.http.problems import CredentialNeeded, Wait
from fairgate.http.replies import answered, json_reply, problems
from fairgate.http.services import Services
from fairgate.users.sessions import NewSession
from fairgate.users.users import Preferences, User

router = APIRouter(prefix="/users", tags=["users"])


@router.post(
    "/sessions",
    status_code=201,
    response_model=SessionShape,
    responses=problems(401, 403, 429),
    openapi_extra={"security": [{}, {"service": []}]},
)
async def create_session(
    request: Request,
    services: Deps,
    body: SessionRequest | None = None,
) -> Response:
    """Begin as a guest, whose id nobody chooses; or, with the shop's credential, as the user that the shop names."""
    named = body.user_id if body else None
    if _is_service(request, services):
        user_id = Caller(None).user(named)
        made: NewSession = await answered(lambda answer: services.sessions.create(user_id, answer))
    elif named is not None:
        raise NotYours("only the shop's credential may name a user")
    else:
        _limit_guests(request, services)
        made = await answered(services.sessions.create_guest)
    return _begun(services, made)


def _is_service(request: Request, services: Services) -> bool:
    """An old session's token does no harm here; any other unknown credential is refused."""
    authorization = request.headers.get("authorization")
    if authorization is None:
        return False
    bearer = bearer_of(authorization)
    if services.gate.is_credential("service", bearer):
        return True
    if bearer.startswith(SESSION_HEAD):
        return False
    raise CredentialNeeded()


def _limit_guests(request: Request, services: Services) -> None:
    peer = request.client.host if request.client else ""
    hops = ",".join(request.headers.getlist("x-forwarded-for"))
    wait_s = services.guests.wait_s(services.gate.client_address(peer, hops))
    if wait_s > 0:
        raise Wait(wait_s)


def _begun(services: Services, made: NewSession) -> Response:
    cookie = session_cookie(made.token, services.sessions.max_age_s, services.headers.https)
    return json_reply(session_body(made), 201, set_cookie=cookie)


@router.delete("/sessions/current", status_code=204, responses=problems(401, 403))
async def end_session(services: Deps, session: BySession) -> Response:
    """Log out. Within two seconds no process believes the token any more."""
    await services.sessions.revoke(session)
    return Response(status_code=204, headers={"set-cookie": no_cookie(services.headers.https)})


@router.get("/me", response_model=MeShape, responses=problems(401))
async def me(services: Deps, session: BySession) -> MeShape:
    return MeShape.of(await services.users.get(session.user_id))


@router.put("/me", response_model=MeShape, responses=problems(401, 403))
async def put_me(services: Deps, session: BySession, body: MeRequest) -> MeShape:
    """Replaces all of it."""
    return MeShape.of(await services.users.put(_user_of(session, body)))


def _user_of(session: Session, body: MeRequest) -> User:
    preferences = Preferences(email=body.preferences.email, push=body.preferences.push)
    return User(user_id=session.user_id, locale=body.locale, email=body.email, preferences=preferences)
