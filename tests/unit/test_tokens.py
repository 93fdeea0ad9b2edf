"""Session tokens: only what our key signed is believed, whatever is done to it."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairgate.domain.session import SessionSigner

SIGNER = SessionSigner(b"a key")
TOKEN = SIGNER.new_token("u-1", 3, 1_800_000_000)
HEAD, PAYLOAD, MAC = TOKEN.split(".")


def b64(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def jwt(head: dict[str, str]) -> str:
    return f"{b64(json.dumps(head))}.{b64(json.dumps({'sub': 'u-1'}))}."


FORGED = [
    "",
    ".",
    "..",
    "s1",
    "s1.",
    "s1..",
    "s1.x.y",
    HEAD,
    f"{HEAD}.{PAYLOAD}",
    f"{HEAD}.{PAYLOAD}.",
    f"{HEAD}..{MAC}",
    f".{PAYLOAD}.{MAC}",
    f"{PAYLOAD}.{MAC}",
    f"s2.{PAYLOAD}.{MAC}",
    f"S1.{PAYLOAD}.{MAC}",
    f"s1.{PAYLOAD}.{MAC.upper()}" if MAC.upper() != MAC else "x",
    f"s1.{PAYLOAD}.{MAC[:-1]}",
    f"s1.{PAYLOAD}.{MAC}0",
    f"s1.{PAYLOAD}.{'0' * 32}",
    f"s1.{PAYLOAD}.{MAC[::-1]}",
    f"s1.{PAYLOAD}=.{MAC}",
    f"s1.{PAYLOAD}.{MAC}.{MAC}",
    f"s1.{PAYLOAD}.{PAYLOAD}.{MAC}",
    f" {TOKEN}",
    f"{TOKEN} ",
    f"{TOKEN}\n",
    f"{TOKEN}\0",
    f"s1.{b64('u-2')}.{MAC}",
    f"s1.{b64('u-2' + chr(0) + '3' + chr(0) + '1800000000' + chr(0) + 'aa')}.{MAC}",
    f"s1.{PAYLOAD[:-1]}.{MAC}",
    f"s1.{PAYLOAD}A.{MAC}",
    f"s1.{PAYLOAD}.é",
    "s1.é.é",
    jwt({"alg": "none"}),
    jwt({"alg": "HS256", "typ": "JWT"}),
    jwt({"alg": "HS256", "kid": "../../dev/null"}),
    jwt({"alg": "RS256", "jku": "https://evil.example/jwks"}),
    f"s1.{jwt({'alg': 'none'})}",
    "null",
    "[object Object]",
    "s1." + "A" * 10_000 + "." + MAC,
    SessionSigner(b"another key").new_token("u-1", 3, 1_800_000_000),
]


@pytest.mark.parametrize("token", FORGED, ids=range(len(FORGED)))
def test_a_crafted_token_is_nobodys(token: str) -> None:
    assert SIGNER.verified(token) is None


def test_a_genuine_token_says_who_and_when() -> None:
    session = SIGNER.verified(TOKEN)
    assert session is not None
    assert (session.user_id, session.generation, session.issued_at) == ("u-1", 3, 1_800_000_000)


@given(st.integers(min_value=0, max_value=len(TOKEN) - 1), st.characters(max_codepoint=127))
def test_changing_any_character_breaks_the_token(index: int, character: str) -> None:
    changed = TOKEN[:index] + character + TOKEN[index + 1 :]
    assert changed == TOKEN or SIGNER.verified(changed) is None


@given(st.text())
def test_no_text_at_all_raises(text: str) -> None:
    assert SIGNER.verified(text) is None


def test_two_tokens_of_one_user_and_second_are_different() -> None:
    assert SIGNER.new_token("u-1", 3, 1_800_000_000) != TOKEN
