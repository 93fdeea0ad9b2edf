"""One ladder of errors. The type decides what happens next; drivers' errors are translated where `stores`
and `streams` meet the driver.

Each class promises `http_status`, `kind` (the stable tail of the problem document's `type`, RFC 9457) and whether
the same request may succeed later (`retryable`: then `retry_after_s` goes into `Retry-After`).
"""

from __future__ import annotations


class FairgateError(Exception):
    """Anything that Fairgate itself says no to."""

    http_status = 500
    kind = "internal"
    title = "Something went wrong on our side"
    retryable = False
    retry_after_s = 1

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title


class InvalidRequest(FairgateError):
    """The request can never succeed as it is."""

    http_status, kind, title = 400, "invalid-request", "The request is not valid"


class TooLarge(FairgateError):
    http_status, kind, title = 413, "too-large", "The request body is too large"


class UnsupportedMedia(FairgateError):
    http_status, kind, title = 415, "unsupported-media-type", "Send application/json"


class NoSession(FairgateError):
    """No session, or one that is expired, revoked or forged: all the same to who asks."""

    http_status, kind, title = 401, "no-session", "A valid session is needed"


class NotYours(FairgateError):
    """Identity comes from the session (F16)."""

    http_status, kind, title = 403, "not-yours", "This names somebody else than the session does"


class OriginRefused(FairgateError):
    http_status, kind, title = 403, "origin-refused", "This origin is not allowed"


class NotFound(FairgateError):
    http_status, kind, title = 404, "not-found", "There is nothing here"


class UnknownLine(NotFound):
    kind, title = "unknown-event", "There is no line for this event"


class LineNotOpen(FairgateError):
    """The line is scheduled or closed: nobody new is let in."""

    http_status, kind, title = 409, "line-not-open", "This line does not take new waiters now"


class Conflict(FairgateError):
    http_status, kind, title = 409, "conflict", "This does not fit the present state"


class SoldOut(Conflict):
    kind, title = "sold-out", "No ticket remains"


class KeyReused(FairgateError):
    """An Idempotency-Key came again with another payload."""

    http_status, kind, title = 422, "idempotency-key-reused", "This Idempotency-Key was used for something else"


class TooManyRequests(FairgateError):
    http_status, kind, title, retryable = 429, "too-many-requests", "Too many requests", True


class Unavailable(FairgateError):
    """A server that this needs does not answer now; nothing was accepted."""

    http_status, kind, title, retryable = 503, "unavailable", "Not available right now, please try again", True


class StaleGeneration(Unavailable):
    """Valkey lacks the generation that SQL names: wiped, older, or not yet prepared."""

    kind, title = "line-recovering", "The line is being prepared, please try again"


class ValkeyFull(Unavailable):
    """Valkey has reached its memory limit: nobody new is let in, the line goes on, nothing is evicted."""

    kind, title, retry_after_s = "valkey-full", "The line has no room for more, please try again", 5


class NotJournaled(Unavailable):
    """With `join_durability = journal`: Kafka does not have the entry yet. The place stays; asking again returns it."""

    kind, title, retry_after_s = "not-journaled", "Your place is being made safe, please try again", 2


class StaleEpoch(FairgateError):
    """Another process owns this lease now: this one must stop writing at once."""

    kind, title = "stale-epoch", "The lease has a new owner"


class ConfigError(FairgateError):
    """The operator's settings cannot work. `hint` says what to do."""

    kind, title = "config", "The settings cannot work"

    def __init__(self, detail: str, hint: str = "") -> None:
        super().__init__(detail)
        self.hint = hint


class Unsafe(ConfigError):
    """An operator's command that would do harm now. `hint` says what to do before."""

    kind, title = "unsafe", "Refused for safety"


class ServerUnreachable(ConfigError):
    """A server named in the settings does not answer or refuses us."""

    kind, title = "server-unreachable", "A server cannot be reached"
