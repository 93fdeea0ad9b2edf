"""Is it alive, is it ready, what does it count."""

from __future__ import annotations

from fastapi import APIRouter, Response

from fairgate.http.caller import ByOperator, Deps
from fairgate.http.health import EXPOSITION, readiness
from fairgate.http.models import HealthShape, ReadyShape
from fairgate.http.replies import json_reply, problems
from fairgate.telemetry import exposition

router = APIRouter(tags=["health"])


@router.get("/healthz", response_model=HealthShape)
async def healthz() -> HealthShape:
    """The process answers."""
    return HealthShape(status="ok")


@router.get(
    "/readyz",
    response_model=ReadyShape,
    responses={503: {"description": "Not ready", "model": ReadyShape}},
)
async def readyz(services: Deps) -> Response:
    status, body = readiness(services.ready(), in_words=False)
    return json_reply(body, status)


@router.get(
    "/metrics",
    dependencies=[ByOperator],
    responses=problems(401, 403) | {200: {"description": "Prometheus' text format", "content": {"text/plain": {}}}},
    response_class=Response,
)
async def metrics() -> Response:
    return Response(exposition(), headers={"content-type": EXPOSITION})
