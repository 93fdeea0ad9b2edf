"""Problem documents (RFC 9457)."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from fairgate import errors
from fairgate.errors import FairgateError, InvalidRequest, NoSession, Unavailable
from fairgate.http import problems
from fairgate.http.problems import Wait, prefers_korean, render


def kinds(root: type[FairgateError] = FairgateError) -> Iterator[type[FairgateError]]:
    yield root
    for below in root.__subclasses__():
        yield from kinds(below)


PUBLIC = [
    kind
    for kind in kinds()
    if kind.__module__ in (errors.__name__, problems.__name__)
    and kind not in (Wait, problems.OtherStatus, errors.StaleEpoch)
    and not issubclass(kind, errors.ConfigError)
]


@pytest.mark.parametrize("kind", PUBLIC, ids=lambda kind: kind.__name__)
def test_every_error_has_a_title_in_both_languages(kind: type[FairgateError]) -> None:
    english, korean = json.loads(render(kind()).body), json.loads(render(kind(), "ko").body)
    assert english["title"] == kind.title
    assert korean["title"] != english["title"]
    assert english["type"] == korean["type"] == f"urn:fairgate:problem:{kind.kind}"
    assert english["status"] == kind.http_status


def test_what_may_be_tried_again_says_when() -> None:
    answer = render(Unavailable())
    assert (b"retry-after", b"1") in answer.headers
    assert json.loads(answer.body)["retryAfterMs"] == 1000


def test_what_cannot_succeed_says_nothing_of_trying_again() -> None:
    answer = render(InvalidRequest("no"))
    assert b"retry-after" not in dict(answer.headers)
    assert "retryAfterMs" not in json.loads(answer.body)


def test_what_broke_inside_is_not_told() -> None:
    assert b"10.0.0.7" not in render(Unavailable("Valkey at 10.0.0.7 does not answer")).body
    assert b"hunter2" not in render(FairgateError("dsn postgresql://u:hunter2@h")).body


def test_who_has_no_session_is_told_what_to_send() -> None:
    assert (b"www-authenticate", b"Bearer") in render(NoSession()).headers


@pytest.mark.parametrize(
    ("languages", "korean"),
    [
        ("", False),
        ("en", False),
        ("ko", True),
        ("ko-KR,ko;q=0.9,en;q=0.8", True),
        ("en-US,en;q=0.9,ko;q=0.8", False),
        ("en;q=0.5,ko;q=0.6", True),
        ("fr,ko;q=0.1", True),
        ("fr", False),
        ("ko;q=0", False),
        ("ko;q=abc", False),
        ("en,ko", False),
        ("ko,en", True),
        (",;q=,," * 1000 + "ko", False),
    ],
)
def test_the_readers_language_is_found(languages: str, korean: bool) -> None:
    assert prefers_korean(languages) is korean
