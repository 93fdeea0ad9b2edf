"""Who may come in: origins, credentials, addresses. Pure; both ways in ask the same gate."""

from __future__ import annotations

import hmac
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Literal

from fairgate.config import Config
from fairgate.errors import ConfigError, NoSession, OriginRefused

COOKIE = "fairgate_session"
# A session token and two ids fit many times over; whatever is longer is not ours.
TOKEN_MAX = 512
# A place token has about fifty characters.
PLACE_TOKEN_MAX = 128

Credential = Literal["service", "operator"]


class Gate:
    """Made once from the settings. Raises `ConfigError` for a proxy that is no network."""

    def __init__(self, config: Config) -> None:
        self._origins = frozenset(origin.rstrip("/").lower() for origin in config.allowed_origins)
        self._public = (config.public_url or "").rstrip("/").lower()
        self._proxies = [_network(text) for text in config.trusted_proxies]
        self._secrets: dict[Credential, bytes] = {}
        if config.service_token is not None:
            self._secrets["service"] = config.service_token.get_secret_value().encode()
        if config.operator_token is not None:
            self._secrets["operator"] = config.operator_token.get_secret_value().encode()

    def is_credential(self, which: Credential, bearer: str) -> bool:
        """Compared in constant time. An unset credential fits nobody."""
        secret = self._secrets.get(which)
        return bool(secret) and hmac.compare_digest(secret or b"", bearer.encode("latin-1", "replace"))

    def foreign(self, origin: str) -> bool:
        """Whether this is another site's origin that the operator allows by name."""
        return origin.lower() in self._origins

    def admit_origin(self, origin: str | None, host: str, *, by_cookie: bool) -> None:
        """For requests that change something. A browser names its origin with each; who sends no cookie may omit it.

        Raises `OriginRefused`.
        """
        if origin is None:
            if by_cookie:
                raise OriginRefused("a request with a cookie must name its origin")
            return
        here = origin.lower()
        if here in self._origins or here == self._public:
            return
        scheme, _, address = here.partition("://")
        if scheme not in ("http", "https") or address != host.lower():
            raise OriginRefused()

    def client_address(self, peer: str, forwarded_for: str) -> str:
        """The right-most hop that is not one of our proxies: what stands left of it, the client may have written."""
        address = peer
        for hop in reversed(forwarded_for.split(",")[-20:] if forwarded_for else []):
            if not self._trusts(address):
                break
            address = hop.strip()
        return address[:64]

    def _trusts(self, address: str) -> bool:
        try:
            host = ip_address(address)
        except ValueError:
            return False
        return any(host in proxy for proxy in self._proxies)


def bearer_of(authorization: str) -> str:
    """The token of `Authorization: Bearer <token>`. Raises `NoSession`."""
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not 0 < len(token.strip()) <= TOKEN_MAX:
        raise NoSession()
    return token.strip()


def cookie_of(cookies: str) -> str | None:
    """Our cookie's value in a `Cookie` header."""
    for part in cookies.split(";"):
        name, _, value = part.strip().partition("=")
        if name == COOKIE:
            return value[:TOKEN_MAX]
    return None


def is_json(content_type: str) -> bool:
    kind, _, parameter = content_type.partition(";")
    return kind.strip().lower() == "application/json" and parameter.strip().lower() in ("", "charset=utf-8")


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text, strict=False)
    except ValueError as error:
        raise ConfigError(f"{text!r} is no network", "FAIRGATE_TRUSTED_PROXIES takes a list like 10.0.0.0/8") from error
