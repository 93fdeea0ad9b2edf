"""Accounts of an event that never was, for rules that take numbers."""

from __future__ import annotations

from typing import Any

from fairgate.stores.accounts import EventAccount, LineAccount, StandingClaim


def event_account(**figures: Any) -> EventAccount:
    """An open, unlimited, untouched line that one process owns."""
    none = dict.fromkeys(("reserved", "admitted", "issued", "confirmed", "cancelled", "expired", "unsent"), 0)
    given = {"event_id": "concert", "generation": 1, "state": "open", "sold_out": False, "capacity": None}
    owned = {"lease_owner": "admission-0", "lease_s": 4.0}
    return EventAccount(**{**none, **given, **owned, **figures})


def line_account(*claims: StandingClaim, **figures: Any) -> LineAccount:
    none = dict.fromkeys(("joined", "left", "admitted", "departed", "waiting"), 0)
    given = {"generation": 1, "recovering": False, "held": False, "claims": len(claims), "named": list(claims)}
    oldest_s = max((claim.age_s for claim in claims), default=0.0)
    return LineAccount(**{**none, **given, "oldest_claim_s": oldest_s, **figures})
