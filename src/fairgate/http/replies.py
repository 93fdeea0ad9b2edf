"""How routes describe their errors, and how a callback's answer is awaited."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, TypeVar

from fastapi import Response

from fairgate.errors import FairgateError
from fairgate.http.models import ProblemShape

T = TypeVar("T")

_PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemShape"}}}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For `responses=`: these statuses carry a problem document. 400, 413, 415, 500 and 503 are everywhere."""
    everywhere = (400, 413, 415, 500, 503)
    described: dict[int | str, dict[str, Any]] = {
        status: {"description": HTTPStatus(status).phrase, "content": _PROBLEM}
        for status in sorted({*statuses, *everywhere})
    }
    described[400]["model"] = ProblemShape  # one of them brings the shape into the components
    return described


def json_reply(body: bytes, status: int = 200, **headers: str) -> Response:
    """Bytes that are JSON already."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(body, status_code=status, media_type="application/json", headers=named)


async def answered(ask: Callable[[Callable[[T | FairgateError], None]], None]) -> T:
    """Await what `ask` hands to its callback. Raises the error it hands over."""
    future: asyncio.Future[T | FairgateError] = asyncio.get_running_loop().create_future()

    def take(answer: T | FairgateError) -> None:
        if not future.done():
            future.set_result(answer)

    ask(take)
    answer = await future
    if isinstance(answer, FairgateError):
        raise answer
    return answer
