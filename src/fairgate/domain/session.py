"""The session token: says who asks, and is checked without a server in about 2 µs.

`s1.<payload>.<mac>`; the payload is `user id \\0 store generation \\0 issued at (epoch s) \\0 nonce`, base64url without
padding; the mac is a keyed BLAKE2b. The stored name of a session is a hash of the token, so a copy of the store opens
nothing.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets

import msgspec

_MAC_BYTES = 16
# From base64url's two signs to base64's.
_STANDARD = bytes.maketrans(b"-_", b"+/")
# Tokens have none; too much of it is no mistake.
_PADDING = b"=="


class Session(msgspec.Struct, frozen=True, gc=False):
    """A genuine token. Whether it is still alive, the session store says."""

    user_id: str
    generation: int
    issued_at: int
    token: str

    @property
    def hash(self) -> str:
        """Its name in the stores, worked out when it is asked for: most requests need none."""
        return session_hash(self.token)

    def __repr__(self) -> str:
        """Without the token, which must not get into a log."""
        return f"Session(user_id={self.user_id!r}, generation={self.generation}, issued_at={self.issued_at})"


class SessionSigner:
    def __init__(self, key: bytes) -> None:
        own_key = hashlib.blake2b(key, digest_size=32, person=b"fairgate-sess").digest()
        # Copied for each token: a third of what a new one costs.
        self._keyed = hashlib.blake2b(key=own_key, digest_size=_MAC_BYTES)

    def new_token(self, user_id: str, generation: int, issued_at: int) -> str:
        """`issued_at` in epoch seconds. 96 random bits make each token its own, also for the same user and second."""
        payload = _b64(f"{user_id}\0{generation}\0{issued_at}\0{secrets.token_hex(12)}".encode())
        return f"s1.{payload}.{self._mac(payload.encode())}"

    def verified(self, token: str) -> Session | None:
        """The session, or None for anything that this key did not sign."""
        head, _, mac = token.rpartition(".")
        if not head.startswith("s1.") or not token.isascii():
            return None
        payload = head[3:].encode()
        if not hmac.compare_digest(mac, self._mac(payload)):
            return None
        try:
            words = binascii.a2b_base64(payload.translate(_STANDARD) + _PADDING).decode()
            user_id, generation, issued_at, _ = words.split("\0")
            return Session(user_id, int(generation), int(issued_at), token)
        except (ValueError, binascii.Error):
            return None

    def _mac(self, payload: bytes) -> str:
        keyed = self._keyed.copy()
        keyed.update(payload)
        return keyed.hexdigest()


def session_hash(token: str) -> str:
    """The name of a session in the stores: 128 bits of BLAKE2b."""
    return hashlib.blake2b(token.encode(), digest_size=16).hexdigest()


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
