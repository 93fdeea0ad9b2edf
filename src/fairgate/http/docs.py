"""`/openapi.json` and `/docs`: Swagger UI from beside us, never from another host, under a policy of its own."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Response
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse

import fairgate

# `fastapi-offline` brings the files; nothing else of it is used.
_ASSETS = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Fairgate API</title>
<link rel="stylesheet" href="/docs/assets/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/docs/assets/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""
_START = """SwaggerUIBundle({url: "/openapi.json", dom_id: "#swagger-ui", deepLinking: true, tryItOutEnabled: true});
"""
# Swagger UI styles itself inline; nothing else is let in.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_DAY = {"cache-control": "public, max-age=86400"}

router = APIRouter(include_in_schema=False)


@router.get("/docs")
async def page() -> HTMLResponse:
    return HTMLResponse(_PAGE, headers={"content-security-policy": _POLICY})


@router.get("/docs/start.js")
async def start() -> Response:
    return Response(_START, media_type="text/javascript", headers=_DAY)


@router.get("/docs/assets/swagger-ui-bundle.js")
async def script() -> Response:
    return _asset("swagger-ui-bundle.js")


@router.get("/docs/assets/swagger-ui.css")
async def style() -> Response:
    return _asset("swagger-ui.css")


def _asset(name: str) -> Response:
    content = Path(str(files("fastapi_offline") / "static" / name)).read_bytes()
    return Response(content, media_type=_ASSETS[name], headers=_DAY)


def describe(app: FastAPI) -> dict[str, Any]:
    """The description, made once. Validation answers 400 like everything that can never succeed, so no 422 is in it."""
    if app.openapi_schema is None:
        schema = get_openapi(
            title="Fairgate",
            version=fairgate.__version__,
            summary="Virtual waiting room and ticket pipeline",
            description=_ABOUT,
            routes=app.routes,
        )
        for operations in schema["paths"].values():
            for operation in operations.values():
                if "HTTPValidationError" in str(operation["responses"].get("422")):
                    del operation["responses"]["422"]
        for unused in ("HTTPValidationError", "ValidationError"):
            schema["components"]["schemas"].pop(unused, None)
        app.openapi_schema = schema
    return app.openapi_schema


_ABOUT = """Identity comes from the session: `POST /users/sessions` gives a token, which goes as
`Authorization: Bearer <token>` (use *Authorize* above) or as the cookie that the same answer sets.

Every error is an `application/problem+json` document with a stable `type`. Where `retryAfterMs` is set, the same
request may succeed after that time."""
