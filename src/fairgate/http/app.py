"""The application: routes, errors, the edge around them."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute

from fairgate.errors import FairgateError, InvalidRequest, NotFound, TooLarge, UnsupportedMedia
from fairgate.http import (
    docs,
    routes_health,
    routes_notifications,
    routes_operator,
    routes_queue,
    routes_tickets,
    routes_users,
)
from fairgate.http.edge import Edge
from fairgate.http.problems import OtherStatus, WrongMethod, render
from fairgate.http.services import Services

ROUTERS: tuple[APIRouter, ...] = (
    routes_queue.router,
    routes_tickets.router,
    routes_users.router,
    routes_notifications.router,
    routes_operator.router,
    routes_health.router,
    docs.router,
)


def create_app(services: Services, pages: Sequence[BaseRoute] = ()) -> FastAPI:
    """`pages` come after every route of the API. Nothing is shared between two applications."""
    app = FastAPI(
        docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False, separate_input_output_schemas=False
    )
    app.state.services = services
    app.openapi = lambda: docs.describe(app)  # type: ignore[method-assign]
    for router in ROUTERS:
        app.include_router(router)
    app.add_api_route("/openapi.json", lambda: JSONResponse(app.openapi()), include_in_schema=False)
    app.router.routes.extend(pages)
    app.add_middleware(Edge, services=services)
    app.add_exception_handler(FairgateError, _told)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    return app


async def _told(request: Request, error: Exception) -> Response:
    assert isinstance(error, FairgateError)
    return _problem(request, error)


async def _invalid(request: Request, error: Exception) -> Response:
    """Says where and why, never what was sent."""
    assert isinstance(error, RequestValidationError)
    errors = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()[:10]]
    return _problem(request, InvalidRequest(errors[0] if errors else ""), errors)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    extra = {"allow": allowed(request.scope["path"])} if error.status_code == 405 else None
    return _problem(request, _ours(error.status_code), extra=extra)


def allowed(path: str) -> str:
    """Every documented method of this resource: the framework names those of one route only."""
    known = [route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]
    template = next((route.path for route in known if route.path_regex.match(path)), None)
    shown = [route for route in known if route.path == template and (route.include_in_schema or route.path in _DOCS)]
    return ", ".join(sorted({method for route in shown for method in route.methods or ()})) or "GET"


_DOCS = frozenset(route.path for route in docs.router.routes if isinstance(route, APIRoute))

_KNOWN: dict[int, type[FairgateError]] = {
    400: InvalidRequest,
    404: NotFound,
    405: WrongMethod,
    413: TooLarge,
    415: UnsupportedMedia,
    422: InvalidRequest,
}


def _ours(status: int) -> FairgateError:
    return _KNOWN[status]() if status in _KNOWN else OtherStatus(status)


def _problem(
    request: Request,
    error: FairgateError,
    errors: list[str] | None = None,
    extra: dict[str, str] | None = None,
) -> Response:
    answer = render(error, request.headers.get("accept-language", ""), errors, extra)
    response = Response(answer.body, status_code=answer.status)
    response.raw_headers = answer.headers
    return response
