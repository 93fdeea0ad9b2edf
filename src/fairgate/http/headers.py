"""The headers that every answer carries, made once from the settings: the same for both ways in."""

from __future__ import annotations

from fairgate.config import Config

Header = tuple[bytes, bytes]

JSON = b"application/json"

# Answers are data: nothing in them may run, be framed or be sniffed into something else.
_ALWAYS: list[Header] = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
]
_DATA_POLICY = b"default-src 'none'; frame-ancestors 'none'"
_HSTS = (b"strict-transport-security", b"max-age=31536000")


class Headers:
    """`data` for API answers, `page` for HTML; `cors` for a foreign origin that is allowed."""

    def __init__(self, config: Config) -> None:
        self.https = (config.public_url or "").startswith("https:")
        always = [*_ALWAYS, *([_HSTS] if self.https else [])]
        if config.allowed_origins:
            always.append((b"vary", b"origin"))
        self.data: list[Header] = [*always, (b"content-security-policy", _DATA_POLICY)]
        self.page: list[Header] = [*always, (b"content-security-policy", page_policy(config).encode())]
        self.no_store: Header = (b"cache-control", b"no-store")


def page_policy(config: Config) -> str:
    """Pages load only what lies beside them, and talk only to Fairgate."""
    live = config.live_url or f"http://{config.host}:{config.ports.live}"
    sockets = live.replace("http", "ws", 1)
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
        f"manifest-src 'self'; worker-src 'self'; connect-src 'self' {live} {sockets}; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )


def cors(origin: str) -> list[Header]:
    """For an origin that the operator allows by name."""
    return [
        (b"access-control-allow-origin", origin.encode("latin-1")),
        (b"access-control-allow-credentials", b"true"),
        (b"access-control-expose-headers", b"etag, retry-after"),
    ]


def preflight(origin: str) -> list[Header]:
    return [
        *cors(origin),
        (b"access-control-allow-methods", b"GET, POST, PUT, PATCH, DELETE"),
        (b"access-control-allow-headers", b"authorization, content-type, idempotency-key, if-none-match"),
        (b"access-control-max-age", b"600"),
    ]
