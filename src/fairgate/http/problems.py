"""What goes wrong, as a problem document (RFC 9457): one shape for every error of every route and both ways in."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

import msgspec

from fairgate.errors import FairgateError

PROBLEM_JSON = b"application/problem+json"


class WrongMethod(FairgateError):
    http_status, kind, title = 405, "method-not-allowed", "This method is not allowed here"


class HeadersTooLarge(FairgateError):
    http_status, kind, title = 431, "headers-too-large", "The request's head is too large"


class CredentialNeeded(FairgateError):
    http_status, kind, title = 401, "credential-needed", "A valid credential is needed"


class NotAllowed(FairgateError):
    http_status, kind, title = 403, "not-allowed", "This credential may not do that"


class Wait(FairgateError):
    """Too many from one address; `retry_after_s` is when the next one may come."""

    http_status, kind, title, retryable = 429, "too-many-requests", "Too many requests", True

    def __init__(self, wait_s: float) -> None:
        super().__init__("too many new sessions from this address")
        self.retry_after_s = max(1, round(wait_s + 0.5))


class OtherStatus(FairgateError):
    """A status that the framework chose."""

    def __init__(self, status: int) -> None:
        self.http_status = status
        self.kind = f"http-{status}"
        self.title = HTTPStatus(status).phrase
        super().__init__()


_KOREAN: dict[str, str] = {
    "internal": "서버에 문제가 발생했습니다",
    "invalid-request": "요청이 올바르지 않습니다",
    "too-large": "요청 본문이 너무 큽니다",
    "headers-too-large": "요청 헤더가 너무 큽니다",
    "unsupported-media-type": "application/json으로 보내 주세요",
    "no-session": "유효한 세션이 필요합니다",
    "credential-needed": "유효한 인증 정보가 필요합니다",
    "not-allowed": "이 인증 정보로는 할 수 없는 작업입니다",
    "not-yours": "세션의 사용자와 다른 사용자를 지정했습니다",
    "origin-refused": "허용되지 않은 출처입니다",
    "not-found": "찾을 수 없습니다",
    "unknown-event": "이 이벤트의 대기열이 없습니다",
    "method-not-allowed": "허용되지 않은 메서드입니다",
    "line-not-open": "지금은 대기열에 새로 들어갈 수 없습니다",
    "conflict": "현재 상태와 맞지 않습니다",
    "sold-out": "남은 티켓이 없습니다",
    "idempotency-key-reused": "이 Idempotency-Key는 다른 요청에 이미 사용되었습니다",
    "too-many-requests": "요청이 너무 많습니다",
    "unavailable": "지금은 이용할 수 없습니다. 잠시 후 다시 시도해 주세요",
    "valkey-full": "대기열에 남은 공간이 없습니다. 잠시 후 다시 시도해 주세요",
    "not-journaled": "자리를 안전하게 저장하고 있습니다. 잠시 후 다시 시도해 주세요",
    "line-recovering": "대기열을 준비하고 있습니다. 잠시 후 다시 시도해 주세요",
}


class Problem(msgspec.Struct, rename="camel", omit_defaults=True):
    """`type` is stable; `title` and `detail` are for people, the title in the reader's language."""

    type: str
    title: str
    status: int
    detail: str
    retry_after_ms: int | None = None
    errors: list[str] | None = None


class Rendered(msgspec.Struct, frozen=True):
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


def type_of(kind: str) -> str:
    return f"urn:fairgate:problem:{kind}"


def render(
    error: FairgateError,
    accept_language: str = "",
    errors: list[str] | None = None,
    extra: Mapping[str, str] | None = None,
) -> Rendered:
    """The answer to this error. `extra` headers are added (`Allow`)."""
    korean = prefers_korean(accept_language)
    problem = Problem(
        type=type_of(error.kind),
        title=_KOREAN.get(error.kind, error.title) if korean else error.title,
        status=error.http_status,
        # What broke inside is for the log: it may name servers.
        detail=error.title if error.http_status >= 500 else error.detail,
        retry_after_ms=error.retry_after_s * 1000 if error.retryable else None,
        errors=errors,
    )
    body = msgspec.json.encode(problem)
    return Rendered(error.http_status, _headers(error, len(body), extra or {}, korean), body)


def _headers(error: FairgateError, length: int, extra: Mapping[str, str], korean: bool) -> list[tuple[bytes, bytes]]:
    headers = [
        (b"content-type", PROBLEM_JSON),
        (b"content-length", str(length).encode()),
        (b"content-language", b"ko" if korean else b"en"),
    ]
    if error.retryable:
        headers.append((b"retry-after", str(error.retry_after_s).encode()))
    if error.http_status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    return headers + [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in extra.items()]


def prefers_korean(accept_language: str) -> bool:
    """Whether Korean stands before English in `Accept-Language`. By weight, then by place."""
    if "ko" not in accept_language:
        return False
    weights = {"ko": 0.0, "en": 0.0}
    for part in accept_language.lower().split(",")[:20]:
        tag, _, weight = part.partition(";q=")
        language = tag.strip().partition("-")[0]
        if language in weights and weights[language] == 0.0:
            weights[language] = _weight(weight)
    return weights["ko"] > weights["en"] or (weights["ko"] == weights["en"] > 0 and _ko_first(accept_language.lower()))


def _weight(text: str) -> float:
    try:
        return min(1.0, max(0.0, float(text))) if text else 1.0
    except ValueError:
        return 0.0


def _ko_first(languages: str) -> bool:
    return languages.find("ko") < languages.find("en")
